/** Attachments: files that belong to a run, by name. The bytes are in chunks of their own, the row is written last. */

export const CHUNK_BYTES = 256 * 1024;

export interface Attachment {
  readonly id: string;
  readonly name: string;
  readonly mimeType: string;
  readonly size: number;
}

const MIME = /^[a-z0-9!#$&^_.+-]{1,64}\/[a-z0-9!#$&^_.+-]{1,128}$/;

/** A type that can stand in a header; anything else is bytes. */
export function safeMimeType(value: string | undefined): string {
  const lower = value?.split(';')[0]?.trim().toLowerCase() ?? '';
  return MIME.test(lower) ? lower : 'application/octet-stream';
}

/** Content-Disposition that downloads under the attachment's name, whatever characters it has. */
export function downloadDisposition(name: string): string {
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(name.toWellFormed()).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
