/** Undo: one step a gesture. States are immutable and kept by reference. */

export interface History<State> {
  past: { label: string; state: State }[];
  present: State;
  future: { label: string; state: State }[];
}

const LONGEST = 500;

export const begin = <State>(state: State): History<State> => ({
  past: [],
  present: state,
  future: [],
});

/** Do a gesture. Nothing is remembered where nothing changes. */
export function commit<State>(history: History<State>, label: string, state: State): History<State> {
  if (state === history.present) return history;
  const past = [...history.past, { label, state: history.present }].slice(-LONGEST);
  return { past, present: state, future: [] };
}

/** Change what is seen without a step of its own: what the server adds is no gesture. */
export const amend = <State>(history: History<State>, state: State): History<State> => ({
  ...history,
  present: state,
});

export function undo<State>(history: History<State>): History<State> {
  const last = history.past.at(-1);
  if (!last) return history;
  return {
    past: history.past.slice(0, -1),
    present: last.state,
    future: [{ label: last.label, state: history.present }, ...history.future],
  };
}

export function redo<State>(history: History<State>): History<State> {
  const [next, ...rest] = history.future;
  if (!next) return history;
  return {
    past: [...history.past, { label: next.label, state: history.present }],
    present: next.state,
    future: rest,
  };
}
