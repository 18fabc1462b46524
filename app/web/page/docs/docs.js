// The views' description, shown by Swagger UI. The token is the live page's.

import { ask, reason } from "./asking.js";
import { $ } from "./dom.js";

/** A stream has no end for Swagger UI to wait for: it is not asked from here. */
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
  $("state").textContent = `The worker does not answer: ${reason(error)} Load the page again to ask again.`;
}
