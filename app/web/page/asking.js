// Asking the page's own worker, with a token where it wants one.

import { $ } from "./dom.js";

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let token = sessionStorage.getItem("token") ?? "";
let entering = null;

/** Ask the worker for JSON; a 401 asks the user for a token, and goes on with it. */
export async function ask(path, milliseconds = 10000) {
  for (;;) {
    const used = token;
    const headers = { Accept: "application/json", ...(used ? { Authorization: `Bearer ${used}` } : {}) };
    const answer = await fetch(path, { headers, signal: AbortSignal.timeout(milliseconds), cache: "no-store" });
    if (answer.status === 401) {
      if (used === token) await enterToken(used ? "The workers do not know this token." : "");
      continue;
    }
    const body = await answer.json().catch(() => ({}));
    // Some tables answer in part: 503 with what there is.
    if (!answer.ok && !body.partial) throw new Refused(answer.status, body.detail ?? `The worker answered ${answer.status}.`);
    return body;
  }
}

function enterToken(error) {
  $("token-error").textContent = error;
  if (entering === null) {
    entering = new Promise((resolve) => {
      $("token-form").onsubmit = (event) => {
        event.preventDefault();
        token = $("token").value.trim();
        sessionStorage.setItem("token", token);
        $("token").value = "";
        $("ask-token").close();
        entering = null;
        resolve();
      };
    });
    $("ask-token").showModal();
  }
  return entering;
}

$("ask-token").addEventListener("cancel", (event) => event.preventDefault());

export const reason = (error) =>
  error instanceof Refused ? error.message
    : error.name === "TimeoutError" ? "It did not answer in time." : "It cannot be reached.";
