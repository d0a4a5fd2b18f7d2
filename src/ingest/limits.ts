/** What one run may bring. Above a limit the run is kept and the surplus is cut, with a note in `extra`. */
export const INTAKE_LIMITS = {
  /** Items of one request; above it the request is refused with 413. */
  runsPerRequest: 1_000,
  /** Items of one GraphQL mutation. */
  runsPerMutation: 100,
  /** Bytes of inputs, outputs, events, serialized, extra and error of one item together. */
  runFieldBytes: 25 * 1024 * 1024,
  tags: 100,
  tagLength: 128,
  nameLength: 1_024,
  /** Above it the item is refused: a project cannot be found again under half a name. */
  projectNameLength: 512,
  attachmentsPerRun: 20,
  attachmentBytes: 50 * 1024 * 1024,
  attachmentNameLength: 512,
} as const;

/** Key in a run's `extra` that lists what the intake changed, as "field: what". */
export const NOTES_KEY = 'tracewell.notes';
