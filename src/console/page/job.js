// The sample job: its own connection receives the progress and moves the bar.

import { explain, post } from "./api.js";
import { Connection } from "./connection.js";
import { onLanguage, text, write } from "./texts.js";
import { watch } from "./wire.js";

const CLIMB_WIDTH = 600;
const $ = (id) => document.getElementById(id);

export function startJob(lifetime) {
  const channel = `progress:${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  const connection = new Connection({ id: 1, name: "progress", channel, lifetime });
  let progress;

  const show = () => {
    const { cursor = 0, total = 0 } = progress ?? {};
    const percent = total > 0 ? Math.round((100 * Math.min(cursor, total)) / total) : 0;
    $("climb").setAttribute("aria-valuenow", String(percent));
    $("climb").classList.toggle("finished", percent === 100);
    $("percent").textContent = `${percent}%`;
    $("climbed-area").setAttribute("width", String((CLIMB_WIDTH * percent) / 100));
    $("track").style.inlineSize = `${percent}%`;
    const step = percent === 100 ? "finished" : progress ? "stepOf" : "notStarted";
    $("steps").textContent = text(step, { cursor, total });
    $("climb").setAttribute("aria-valuetext", `${percent}%, ${$("steps").textContent}`);
    $("job-state").textContent = text(connection.state);
    $("job-state").dataset.state = connection.state;
    // Running the job opens a new connection if this one was closed for good.
    $("run-job").disabled = !["open", "closed"].includes(connection.state);
  };

  $("job-channel").textContent = channel;
  connection.addEventListener("state", show);
  connection.addEventListener("message", ({ detail: { data } }) => {
    if (data?.info?.type !== "sample_job_progress") return;
    const { cursor, total } = data.info.detail ?? {};
    if (!Number.isFinite(cursor) || !Number.isFinite(total)) return;
    progress = { cursor, total };
    show();
  });
  $("run-job").addEventListener("click", async () => {
    const result = $("job-result");
    const refuse = (words) => {
      result.dataset.ok = "false";
      write(result, words);
    };
    write(result, () => "");
    try {
      if (connection.state === "closed" && !(await reconnected(connection))) {
        const { refused } = connection.detail;
        return refuse(() => (refused ? text("noToken", { message: explain(refused) }) : text("notConnected")));
      }
      await post("job", { channel });
      progress = undefined;
      show();
    } catch (error) {
      refuse(() => explain(error));
    }
  });

  watch(connection, 265);
  onLanguage(show);
  connection.connect();
}

/** Connects, and resolves to whether it succeeded at the first attempt. */
function reconnected(connection) {
  return new Promise((done) => {
    connection.addEventListener("state", function settle() {
      if (connection.state === "connecting") return;
      connection.removeEventListener("state", settle);
      done(connection.state === "open");
    });
    connection.connect();
  });
}
