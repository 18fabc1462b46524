// The views' description, shown by Swagger UI. The token is where the live page keeps it: in the tab.

const $ = (id) => document.getElementById(id);

let token = sessionStorage.getItem("token") ?? "";

/** Wait for a token from the user. */
function enterToken(why) {
  $("state").textContent = why;
  $("ask-token").hidden = false;
  $("token").focus();
  return new Promise((resolve) => {
    $("ask-token").onsubmit = (event) => {
      event.preventDefault();
      token = $("token").value.trim();
      sessionStorage.setItem("token", token);
      $("token").value = "";
      $("ask-token").hidden = true;
      resolve();
    };
  });
}

/** Return the description; a 401 asks the user for a token, and goes on with it. */
async function load() {
  for (;;) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("/openapi.json", { headers, cache: "no-store" });
    if (answer.status === 401) {
      await enterToken(token ? "The workers do not know this token." : "A token, please.");
      continue;
    }
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    return told;
  }
}

/** A stream has no end for Swagger UI to wait for: it is not asked from here. */
const noStreams = () => ({
  statePlugins: { spec: { wrapSelectors: { allowTryItOutFor: () => (_, path) => !path.startsWith("/stream/") } } },
});

try {
  const spec = await load();
  $("state").textContent = "";
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    docExpansion: "list",
    deepLinking: true,
    plugins: [noStreams],
    onComplete: () => token && ui.preauthorizeApiKey("token", token),
  });
} catch (error) {
  $("state").textContent = `The worker does not answer: ${error.message} Load the page again to ask again.`;
}
