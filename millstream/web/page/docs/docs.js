// The views' description, shown by Swagger UI. It uses the live page's token.

import { ask, reason } from "./asking.js";
import { $ } from "./dom.js";

/** Swagger UI would wait for the end of a stream, which has none: "Try it out" is disabled for streams. */
const noStreams = () => ({
  statePlugins: { spec: { wrapSelectors: { allowTryItOutFor: () => (_, path) => !path.startsWith("/stream/") } } },
});

try {
  const spec = await ask("/openapi.json");
  const token = sessionStorage.getItem("token");
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
  $("state").textContent = `The worker does not answer: ${reason(error)} Reload the page to retry.`;
}
