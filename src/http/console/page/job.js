// The sample job: its own connection hears the progress and moves the bar.

import { post } from "./api.js";
import { Connection } from "./connection.js";
import { onLanguage, text } from "./texts.js";
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
    $("run-job").disabled = connection.state !== "open";
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
    result.textContent = "";
    try {
      await post("job", { channel });
      progress = undefined;
      show();
    } catch (error) {
      result.dataset.ok = "false";
      result.textContent = error.message;
    }
  });

  watch(connection, 265);
  onLanguage(show);
  connection.connect();
}
