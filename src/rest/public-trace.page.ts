/** The page behind a share link: the tree of a trace and the payloads of the shared run. No scripts, no links out. */
import type { RunRow } from '../runs/run-columns.js';
import type { TraceRun } from '../runs/trace-run.js';

const STYLE = `
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1f23; }
  h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin-top: 2rem; }
  pre { background: #f4f5f7; padding: 1rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
  ol { list-style: none; padding: 0; } li { padding: .15rem 0; }
  small { color: #5c6570; } .error { color: #b3261e; }`;

/** Characters of one payload on the page. */
const MAX_PAYLOAD = 20_000;

export interface TracePage {
  readonly run: RunRow;
  /** In depth-first order. */
  readonly nodes: readonly TraceRun[];
  /** Whether the trace has no more runs than these. */
  readonly complete: boolean;
}

export function renderTracePage({ run, nodes, complete }: TracePage): string {
  const name = escapeHtml(run.name ?? 'Run');
  const rows = nodes.map(renderNode).join('\n');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${name}</title>
<style>${STYLE}
</style>
</head>
<body>
<h1>${name}</h1>
<p>${renderFacts(run.status, run.latencySeconds)}</p>
${renderPayload('Error', run.error)}
${renderPayload('Inputs', pretty(run.inputs))}
${renderPayload('Outputs', pretty(run.outputs))}
<h2>Trace</h2>
<ol>
${rows}
</ol>
${complete ? '' : `<p><small>Only the first ${nodes.length} runs are shown.</small></p>`}
</body>
</html>
`;
}

function renderNode(node: TraceRun): string {
  const indent = Math.min(node.depth, 30) * 1.5;
  const facts = renderFacts(node.status, node.latencySeconds);
  return `<li style="padding-left: ${indent}rem">${escapeHtml(node.name)} <small>${escapeHtml(node.runType)}, ${facts}</small></li>`;
}

function renderFacts(status: string | undefined, latencySeconds: number | null | undefined): string {
  const shown = status === 'error' ? '<span class="error">error</span>' : escapeHtml(status ?? '');
  return typeof latencySeconds === 'number' ? `${shown}, ${latencySeconds.toFixed(2)} s` : shown;
}

function renderPayload(title: string, text: string | null | undefined): string {
  if (text === null || text === undefined) return '';
  const cut = text.length > MAX_PAYLOAD ? `${text.slice(0, MAX_PAYLOAD)}…` : text;
  return `<h2>${title}</h2>\n<pre>${escapeHtml(cut)}</pre>`;
}

function pretty(json: string | null | undefined): string | null {
  if (json === null || json === undefined) return null;
  // Large payloads are cut anyway: laying them out first would cost more than it shows.
  return json.length > MAX_PAYLOAD ? json : JSON.stringify(JSON.parse(json), null, 2);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
