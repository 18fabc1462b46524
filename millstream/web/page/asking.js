// Requests to the page's own worker, with a token if it requires one.

import { $ } from "./dom.js";

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let token = sessionStorage.getItem("token") ?? "";
let entering = null;

/** Request JSON from the worker; on a 401 the user is asked for a token, and the request is sent again. */
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
    // Some tables return a partial answer: 503 with the available data.
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
