// Charts over the last minutes, drawn as SVG.

import { h, svg } from "./elements.js";
import { text } from "./texts.js";

const WIDTH = 600;
const HEIGHT = 150;

/**
 * A chart of one or two `series` of `{ name, points }` with points `[time, value]`, from `since` to `until`. `format` writes a value.
 * `update` draws other points.
 */
export class Chart {
  #plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  #top = h("span");
  #middle = h("span");
  #readout = h("p", { class: "readout", hidden: true, "aria-hidden": "true" });
  #cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
  #legend = h("p", { class: "legend" });
  #picture;
  #format;
  #drawn;

  constructor({ title, format }) {
    this.#format = format;
    this.#picture = h("div", { class: "picture", role: "img" }, this.#plot, this.#readout);
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("span", {}, title), this.#legend),
      h("div", { class: "scale", "aria-hidden": "true" }, this.#top, this.#middle, h("span", {}, "0")),
      this.#picture,
      h("div", { class: "times", "aria-hidden": "true" }, h("span", {}, text("minutesAgo", { count: 5 })), h("span", {}, text("now"))),
    );
    this.title = title;
    this.#picture.addEventListener("pointermove", (event) => this.#read(event));
    this.#picture.addEventListener("pointerleave", () => this.#unread());
  }

  update({ series, since, until }) {
    this.#drawn = { series, since, until };
    const most = Math.max(0, ...series.flatMap(({ points }) => points.map(([, value]) => value)));
    const top = ceiling(most);
    this.#top.textContent = this.#format(top);
    this.#middle.textContent = this.#format(top / 2);
    const x = (time) => ((time - since) / (until - since)) * WIDTH;
    const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 6);
    const lines = [0, 0.5, 1].map((part) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(top * part), y2: y(top * part) }));
    const areas = series.flatMap(({ points }, index) => {
      if (points.length < 2) return [];
      const path = points.map(([time, value], place) => `${place ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      const [first, last] = [x(points[0][0]), x(points.at(-1)[0])];
      return [
        svg("path", { class: `area s${index}`, d: `${path}L${last.toFixed(1)} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z` }),
        svg("path", { class: `line s${index}`, d: path }),
      ];
    });
    this.#plot.replaceChildren(...lines, ...areas, this.#cursor);
    this.#legend.replaceChildren(...series.map(({ name, points }, index) =>
      h("span", { class: `s${index}` }, `${name} `, h("b", {}, points.length ? this.#format(points.at(-1)[1]) : "–"))));
    const words = series.map(({ name, points }) => {
      const values = points.map(([, value]) => value);
      if (!values.length) return `${name}: –`;
      const [now, low, high] = [values.at(-1), Math.min(...values), Math.max(...values)].map(this.#format);
      return text("chartSays", { name, now, low, high });
    });
    this.#picture.setAttribute("aria-label", `${this.title}. ${words.join(". ")}`);
  }

  #read({ clientX }) {
    const { series, since, until } = this.#drawn ?? {};
    if (!series?.[0]?.points.length) return;
    const { left, width } = this.#picture.getBoundingClientRect();
    const time = since + ((clientX - left) / width) * (until - since);
    const near = (points) => points.reduce((best, point) => (Math.abs(point[0] - time) < Math.abs(best[0] - time) ? point : best), points[0]);
    const at = near(series[0].points)[0];
    const place = (at - since) / (until - since);
    this.#cursor.setAttribute("x1", place * WIDTH);
    this.#cursor.setAttribute("x2", place * WIDTH);
    this.#cursor.classList.add("on");
    const seconds = Math.round((until - at) / 1000);
    this.#readout.textContent = [text("secondsAgo", { count: seconds }), ...series.map(({ name, points }) => `${name} ${points.length ? this.#format(near(points)[1]) : "–"}`)].join(" · ");
    this.#readout.hidden = false;
    this.#readout.classList.toggle("left", place > 0.5);
  }

  #unread() {
    this.#readout.hidden = true;
    this.#cursor.classList.remove("on");
  }
}

/** A small line of values, without a scale. */
export function sparkline(points, since, until) {
  const top = Math.max(1e-9, ...points.map(([, value]) => value));
  const at = ([time, value]) => `${(((time - since) / (until - since)) * 100).toFixed(1)} ${(23 - (value / top) * 20).toFixed(1)}`;
  const plot = svg("svg", { class: "sparkline", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  if (points.length > 1) plot.append(svg("path", { d: `M${points.map(at).join("L")}` }));
  return plot;
}

/** A share of a whole, as a bar. A share of a limit is marked when the limit is near. */
export function bar(share, { isLimit = false } = {}) {
  const filled = Math.max(0, Math.min(1, share || 0));
  return svg(
    "svg",
    { class: isLimit && filled >= 0.9 ? "bar full" : "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    svg("rect", { class: "track", width: 100, height: 6 }),
    svg("rect", { class: "filled", width: (filled * 100).toFixed(1), height: 6 }),
  );
}

/** The next of 1, 2, 5, 10, 20, 50 … */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((step) => step * power >= value) ?? 10;
  return step * power;
}
