// Sums and groups of plain objects and lists.

export const sum = (values) => Object.values(values).reduce((total, value) => total + value, 0);

export const add = (totals, name, value) => { totals[name] = (totals[name] ?? 0) + value; };

/** Group values into lists, by the result of `by`. */
export function group(values, by) {
  const found = {};
  for (const one of values) (found[by(one)] ??= []).push(one);
  return found;
}
