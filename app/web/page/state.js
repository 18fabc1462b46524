// What the page knows at the moment.

export const state = {
  overview: null, // what the workers have said last
  failing: null, // why the page's own worker does not answer
};

/** Return a topic's name without what all of this service begin with. */
export function short(topic) {
  const prefix = state.overview?.prefix ?? "";
  return topic.startsWith(prefix) ? topic.slice(prefix.length) : topic;
}

/** The source topics that no agent fills. */
export function entries(overview) {
  const filled = new Set(overview.workers.flatMap((w) => Object.values(w.topics).flatMap((t) => Object.keys(t.outputs))));
  return overview.agents.map((agent) => agent.topic).filter((topic) => !filled.has(topic));
}
