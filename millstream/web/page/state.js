// The current state of the page.

export const state = {
  overview: null, // the workers' last answer
  failing: null, // why the page's own worker does not answer
};

/** Return a topic's name without the service's prefix. */
export function short(topic) {
  const prefix = state.overview?.prefix ?? "";
  return topic.startsWith(prefix) ? topic.slice(prefix.length) : topic;
}

/** The source topics that no agent writes to. */
export function entries(overview) {
  const filled = new Set(overview.workers.flatMap((w) => Object.values(w.topics).flatMap((t) => Object.keys(t.outputs))));
  return overview.agents.map((agent) => agent.topic).filter((topic) => !filled.has(topic));
}
