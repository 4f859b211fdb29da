/**
 * Takes secrets out of text, in every spelling that one is likely to appear in: as it is, quoted for JSON, encoded for URLs, in
 * hexadecimal, and in base64 (where the same bytes have three spellings, depending on what stands before them). Also takes out
 * what looks like a credential though nobody told us about it.
 */

import { printable } from './printable.ts'

export interface Redactor {
  /** `text` with `***` for each secret, and with what a terminal would obey written out; line breaks and tabs stay. */
  (text: string): string
  /** The same, by name. */
  clean(text: string): string
  /** For text that comes in pieces: a secret cut in two is held back until it can be judged. */
  cleanStream(): { push(chunk: string): string; end(): string }
}

/** Shorter values would take ordinary words out of every sentence. */
const SHORTEST = 6
/** Of a secret's lines; shorter ones say too little. */
const SHORTEST_LINE = 12
/** No credential without a blank is longer; the rest of a stream is not held back for it. */
const LONGEST_WORD = 8 * 1024
const LONGEST_BLOCK = 64 * 1024
const MASK = '***'
/** How many cleaned texts are remembered, and how long they are at most. */
const MOST_KEPT = 1024
const LONGEST_KEPT = 256

const SHAPES: readonly RegExp[] = [
  // A private key, to its end or to the end of the text.
  /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)/g,
  /(?<=\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}/gi,
  // Hetzner: 64 letters and digits of both cases (a SHA-256 in hexadecimal has one).
  /(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9]{0,63}[A-Z])(?=[A-Za-z0-9]{0,63}[a-z])[A-Za-z0-9]{64}(?![A-Za-z0-9+/_=-])/g,
  /\b(?:gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|do[opr]_v1_[a-f0-9]{64})/g,
  // user:password@ in an address.
  /(?<=\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]{0,256}:)[^\s/@]+(?=@)/gi,
]

/** Bytes as base64 would spell them behind 0, 1 and 2 others, without the characters that the neighbours have a part in. */
const base64Forms = (bytes: Buffer): string[] =>
  [0, 1, 2].flatMap(before => {
    const text = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replace(/=+$/, '')
    const mixed = ((before + bytes.length) * 8) % 6 === 0 ? 0 : 1
    const core = text.slice(Math.ceil((before * 8) / 6), text.length - mixed)
    return [core, core.replaceAll('+', '-').replaceAll('/', '_')]
  })

const encodedForms = (secret: string): string[] => {
  const percent = encodeURIComponent(secret.toWellFormed())
  const lower = percent.replace(/%[0-9A-F]{2}/g, code => code.toLowerCase())
  const strict = (text: string) => text.replace(/[!'()*~]/g, char => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
  return [percent, lower, strict(percent), percent.replaceAll('%20', '+'), strict(percent).replaceAll('%20', '+')]
}

const formsOf = (secret: string): string[] => {
  const bytes = Buffer.from(secret)
  const hex = bytes.toString('hex')
  const quoted = JSON.stringify(secret).slice(1, -1)
  const lines = secret.split(/\r?\n/).filter(line => line.length >= SHORTEST_LINE && !line.startsWith('-----'))
  return [
    secret,
    quoted,
    quoted.replaceAll('/', '\\/'),
    JSON.stringify(quoted).slice(1, -1),
    hex,
    hex.toUpperCase(),
    ...encodedForms(secret),
    ...base64Forms(bytes),
    ...(secret.includes('\n') ? lines : []),
  ]
}

interface Span {
  readonly start: number
  readonly end: number
}

const merged = (spans: readonly Span[]): readonly Span[] => {
  const out: { start: number; end: number }[] = []
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    const last = out.at(-1)
    // Spans that touch stay two: two secrets side by side are two masks.
    if (last !== undefined && start < last.end) last.end = Math.max(last.end, end)
    else out.push({ start, end })
  }
  return out
}

const spansIn = (text: string, forms: readonly string[]): readonly Span[] => {
  const spans: Span[] = []
  for (const form of forms)
    for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + 1)) spans.push({ start: at, end: at + form.length })
  for (const shape of SHAPES)
    for (const match of text.matchAll(shape)) spans.push({ start: match.index, end: match.index + match[0].length })
  return merged(spans)
}

const masked = (text: string, spans: readonly Span[]): string => {
  let out = ''
  let at = 0
  for (const { start, end } of spans) {
    out += text.slice(at, start) + MASK
    at = end
  }
  return out + text.slice(at)
}

/** Where the part of `text` begins that may be the start of a secret. */
const undecidedFrom = (text: string, forms: readonly string[]): number => {
  let from = text.length
  const longest = forms[0]?.length ?? 0
  for (let at = Math.max(0, text.length - longest + 1); at < from; at++) {
    const tail = text.slice(at)
    if (forms.some(form => form.startsWith(tail))) from = at
  }
  let word = text.length
  while (word > Math.max(0, text.length - LONGEST_WORD) && !/\s/.test(text.charAt(word - 1))) word--
  const scheme = /\b(?:bearer|basic)\s+$/i.exec(text.slice(Math.max(0, word - 64), word))?.[0] ?? ''
  const block = text.lastIndexOf('-----BEGIN ')
  const isOpen = block >= 0 && !/-----END [A-Z0-9 ]+-----/.test(text.slice(block)) && text.length - block < LONGEST_BLOCK
  return Math.min(from, word - scheme.length, isOpen ? block : text.length)
}

/** @param secrets asked anew for each text, because secrets are read and made while the program runs */
export const createRedactor = (secrets: () => readonly string[]): Redactor => {
  let known: readonly string[] = []
  let forms: readonly string[] = []
  const formsBySecret = new Map<string, readonly string[]>()
  /** Names of fields, titles and states come again and again; good for the present secrets alone. */
  const cleaned = new Map<string, string>()
  const currentForms = (): readonly string[] => {
    const now = secrets()
    if (now.length !== known.length || now.some((secret, index) => secret !== known[index])) {
      known = [...now]
      cleaned.clear()
      const all = known
        .filter(secret => secret.length >= SHORTEST)
        .flatMap(secret => formsBySecret.getOrInsertComputed(secret, formsOf))
      forms = [...new Set(all)].filter(form => form.length >= SHORTEST - 2).sort((a, b) => b.length - a.length)
    }
    return forms
  }
  const clean = (text: string): string => {
    const present = currentForms()
    const before = cleaned.get(text)
    if (before !== undefined) return before
    // Secrets go first: one may hold characters that would be written out.
    const out = printable(masked(text, spansIn(text, present)), { lines: true })
    if (cleaned.size === MOST_KEPT) cleaned.clear()
    if (text.length <= LONGEST_KEPT) cleaned.set(text, out)
    return out
  }

  const cleanStream = () => {
    let held = ''
    return {
      push(chunk: string): string {
        held += chunk
        const spans = spansIn(held, currentForms())
        let from = undecidedFrom(held, currentForms())
        // The second half of a character may be in the next piece.
        if (/[\ud800-\udbff]$/.test(held.slice(0, from))) from--
        // A secret that reaches into the undecided part is judged with it.
        const cut = spans.find(span => span.start < from && span.end > from)?.start ?? from
        const out = masked(
          held.slice(0, cut),
          spans.filter(span => span.end <= cut),
        )
        held = held.slice(cut)
        return printable(out, { lines: true })
      },
      end(): string {
        const out = clean(held)
        held = ''
        return out
      },
    }
  }
  return Object.assign((text: string) => clean(text), { clean, cleanStream })
}
