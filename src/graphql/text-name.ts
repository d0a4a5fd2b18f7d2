/** What the field is called that gives a list as text (see row-text.ts): for whoever looks at selections. */
export const TEXT_SUFFIX = '$text';

/** The name of a list in the schema, whichever of its two fields a document names. */
export const listNameOf = (name: string): string =>
  name.endsWith(TEXT_SUFFIX) ? name.slice(0, -TEXT_SUFFIX.length) : name;
