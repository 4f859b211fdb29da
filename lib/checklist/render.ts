/** The checklist for people: as text, as Markdown, as a page. Pure; everything that comes from outside is escaped. */

import { type Item, PHASES, type Phase } from './items.ts'
import { type Answers, isSettled, progressOf } from './record.ts'

const TITLES = {
  'pre-migration': 'Pre-migration',
  frontend: 'Frontend migration',
  backend: 'Backend migration',
  cutover: 'DNS cutover',
  'post-migration': 'Post-migration',
  security: 'Isolation (from the security chapter)',
} satisfies Record<Phase, string>

const MARKS = { yes: '✓', no: '✗', unknown: '?', not_needed: '–' } as const

const byPhase = (items: readonly Item[]): [Phase, Item[]][] =>
  PHASES.flatMap(phase => {
    const own = items.filter(item => item.phase === phase)
    return own.length === 0 ? [] : [[phase, own]]
  })

const minute = (atMs: number): string => new Date(atMs).toISOString().slice(0, 16).replace('T', ' ')

export function renderText(items: readonly Item[], answers: Answers): string {
  const lines = byPhase(items).flatMap(([phase, own]) => [
    '',
    TITLES[phase],
    ...own.flatMap(item => {
      const answer = answers[item.id]
      const mark = answer ? MARKS[answer.state] : '·'
      const note = answer?.evidence ?? (item.check.by === 'person' ? item.check.question : 'not looked at')
      return [`  ${mark} ${item.text}`, ...(isSettled(answer) ? [] : [`      ${note}`])]
    }),
  ])
  const { settled, failing, open } = progressOf(items, answers)
  return [...lines.slice(1), '', `${settled} of ${items.length} settled, ${failing} not as they should be, ${open} open`].join(
    '\n',
  )
}

/** What would be markup is not. */
const plain = (text: string): string =>
  text
    .replace(/[\\`*_{}[\]#|]/g, '\\$&')
    .replace(/[&<>]/g, character => ESCAPES[character] ?? '')
    .replace(/\s+/g, ' ')

export function renderMarkdown(items: readonly Item[], answers: Answers, estate: string, nowMs: number): string {
  const { settled, failing, open } = progressOf(items, answers)
  return [
    `# Migration checklist of ${plain(estate)}`,
    '',
    `${minute(nowMs)} UTC: ${settled} of ${items.length} settled, ${failing} not as they should be, ${open} open.`,
    ...byPhase(items).flatMap(([phase, own]) => [
      '',
      `## ${TITLES[phase]}`,
      '',
      ...own.map(item => {
        const answer = answers[item.id]
        const how = item.check.by === 'probe' ? 'probe' : 'asked'
        const evidence = answer ? ` — ${plain(answer.evidence)} (${plain(answer.by)}, ${minute(answer.atMs)} UTC)` : ''
        return `- [${isSettled(answer) ? 'x' : ' '}] ${plain(item.text)}${answer?.state === 'no' ? ' **NOT SO**' : ''} \`${how}\`${evidence}`
      }),
    ]),
    '',
  ].join('\n')
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const html = (text: string): string => text.replace(/[&<>"']/g, character => ESCAPES[character] ?? '')

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h2{margin:2rem 0 .5rem;font-size:1.1rem}li{list-style:none;margin:.3rem 0;padding:.3rem .6rem;border-left:4px solid #bbb}ul{padding:0}
li.yes,li.not_needed{border-color:#2a8}li.no{border-color:#c33}li.unknown{border-color:#da3}small{color:#666;display:block}
form{display:inline-flex;gap:.4rem;margin-top:.3rem}input{font:inherit;min-width:18rem}button{font:inherit}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}small{color:#999}}`

/** Polls for a newer state and replaces the list; answers are sent with the page's own token. */
const SCRIPT = `const main=document.querySelector('main');
async function load(){try{const r=await fetch('list');if(r.ok&&!main.contains(document.activeElement))main.innerHTML=await r.text()}catch{}}
setInterval(load,5000);
addEventListener('submit',async event=>{event.preventDefault();const f=event.target;const state=event.submitter.value;
await fetch('answer',{method:'POST',headers:{'content-type':'application/json','x-landfall':document.body.dataset.token},
body:JSON.stringify({id:f.dataset.id,state,evidence:f.evidence.value})});f.evidence.blur();document.activeElement.blur();load()});`

export function renderList(items: readonly Item[], answers: Answers): string {
  const { settled, failing, open } = progressOf(items, answers)
  const sections = byPhase(items).map(
    ([phase, own]) =>
      `<h2>${html(TITLES[phase])}</h2><ul>${own
        .map(item => {
          const answer = answers[item.id]
          const asked =
            item.check.by === 'person' || answer?.state === 'unknown'
              ? `<form data-id="${html(item.id)}"><input name="evidence" maxlength="1000" placeholder="what you know about it"><button value="yes">yes</button><button value="no">no</button><button value="not_needed">not needed</button></form>`
              : ''
          const evidence = answer
            ? `${html(answer.evidence)} · ${html(answer.by)}, ${minute(answer.atMs)} UTC`
            : item.check.by === 'person'
              ? `${html(item.check.question)} (Asked, because ${html(item.check.why)}.)`
              : 'not looked at'
          return `<li class="${answer?.state ?? 'open'}">${answer ? MARKS[answer.state] : '·'} ${html(item.text)}<small>${evidence}</small>${asked}</li>`
        })
        .join('')}</ul>`,
  )
  return `<p><strong>${settled} of ${items.length}</strong> settled, ${failing} not as they should be, ${open} open.</p>${sections.join('')}`
}

/** The whole page; `nonce` is what its own style and script are allowed by. */
export const renderPage = (
  items: readonly Item[],
  answers: Answers,
  { estate, token, nonce }: { readonly estate: string; readonly token: string; readonly nonce: string },
): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Checklist of ${html(estate)}</title><style nonce="${nonce}">${STYLE}</style></head><body data-token="${html(token)}"><h1>Migration checklist of ${html(estate)}</h1><main>${renderList(items, answers)}</main><script nonce="${nonce}">${SCRIPT}</script></body></html>`
