/** "Did you mean …": the nearest word of a list. Shared by the config and the command line. */

/** Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`, case ignored. */
export const distance = (a: string, b: string): number => {
  const left = a.toLowerCase()
  const right = b.toLowerCase()
  let twoAbove: number[] = []
  let above = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let row = 1; row <= left.length; row++) {
    const current = [row]
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1]
      let best = Math.min((above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (above[column - 1] ?? 0) + (same ? 0 : 1))
      if (row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1])
        best = Math.min(best, (twoAbove[column - 2] ?? 0) + 1)
      current.push(best)
    }
    twoAbove = above
    above = current
  }
  return above[right.length] ?? 0
}

/** The candidate that `word` was probably meant to be, or undefined when none is close enough (about a third of its letters). */
export const nearest = (word: string, candidates: Iterable<string>): string | undefined => {
  // A hostile megabyte of text is not a typing mistake, and the comparison is quadratic.
  if (word.length > 80) return undefined
  let best: string | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const limit = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3))
    const edits = distance(word, candidate)
    if (edits <= limit && edits < bestDistance && candidate !== word) {
      best = candidate
      bestDistance = edits
    }
  }
  return best
}
