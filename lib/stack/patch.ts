/** Corrections as a unified diff, so that a person can read and apply them with `git apply` or `patch -p1`. Pure. */

import type { Edit, Finding } from './finding.ts'

const CONTEXT = 3

/** Edits of one file, later ones that touch the same lines left out. */
function ordered(edits: readonly Edit[]): readonly Edit[] {
  const out: Edit[] = []
  for (const edit of [...edits].sort((a, b) => a.line - b.line || a.remove - b.remove)) {
    const last = out.at(-1)
    const same = out.some(
      each => each.line === edit.line && each.remove === edit.remove && each.insert.join('\n') === edit.insert.join('\n'),
    )
    if (!same && (!last || edit.line >= last.line + last.remove)) out.push(edit)
  }
  return out
}

/** `text` with the edits made. */
export function applyLineEdits(text: string, edits: readonly Edit[]): string {
  const lines = text.split('\n')
  for (const edit of [...ordered(edits)].reverse()) lines.splice(edit.line - 1, edit.remove, ...edit.insert)
  return lines.join('\n')
}

/** One file's diff; empty when nothing changes. `path` is written as in the repository, with `a/` and `b/`. */
export function renderDiff(path: string, before: string, edits: readonly Edit[]): string {
  const lines = before.split('\n')
  const isEnded = lines.at(-1) === ''
  if (isEnded) lines.pop()
  let shift = 0
  let out = ''
  const all = ordered(edits)
  for (let index = 0; index < all.length; ) {
    const group = [all[index]].flatMap(each => each ?? [])
    index++
    while (index < all.length) {
      const last = group.at(-1)
      const next = all[index]
      if (!last || !next || next.line - (last.line + last.remove) > 2 * CONTEXT) break
      group.push(next)
      index++
    }
    const first = group[0]
    const last = group.at(-1)
    if (!first || !last) break
    const from = Math.max(1, first.line - CONTEXT)
    const to = Math.min(lines.length, last.line + last.remove - 1 + CONTEXT)
    const body: string[] = []
    let at = from
    let added = 0
    let removed = 0
    for (const edit of group) {
      while (at < edit.line) body.push(` ${lines[at++ - 1] ?? ''}`)
      for (let n = 0; n < edit.remove; n++) body.push(`-${lines[at++ - 1] ?? ''}`)
      for (const line of edit.insert) body.push(`+${line}`)
      added += edit.insert.length
      removed += edit.remove
    }
    while (at <= to) body.push(` ${lines[at++ - 1] ?? ''}`)
    const oldCount = body.filter(line => !line.startsWith('+')).length
    const newCount = body.filter(line => !line.startsWith('-')).length
    const shown = isEnded || at <= lines.length ? body : withNewline(body)
    out += `@@ -${from},${oldCount} +${from + shift},${newCount} @@\n${shown.join('\n')}\n`
    shift += added - removed
  }
  return out === '' ? '' : `--- a/${path}\n+++ b/${path}\n${out}`
}

/** A hunk that reaches the end of a file whose last line has no newline: it gets one. */
function withNewline(body: readonly string[]): readonly string[] {
  const last = body.findLastIndex(line => !line.startsWith('+'))
  return body.flatMap((line, index) => {
    if (index !== last) return [line]
    const text = line.slice(1)
    return [`-${text}`, '\\ No newline at end of file', ...(line.startsWith(' ') ? [`+${text}`] : [])]
  })
}

/** The diff for every finding that carries its own correction. `textOf` gives a file's text. */
export function renderPatch(findings: readonly Finding[], textOf: (file: string) => string | undefined): string {
  const edits = findings.flatMap(finding => finding.edits ?? [])
  return [...new Set(edits.map(({ file }) => file))]
    .sort()
    .map(file => {
      const text = textOf(file)
      return text === undefined
        ? ''
        : renderDiff(
            file,
            text,
            edits.filter(edit => edit.file === file),
          )
    })
    .join('')
}
