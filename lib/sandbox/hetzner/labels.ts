/**
 * Label grammar and label selectors, exactly as the vendor documents them. Permissive imitations have hidden label bugs before.
 * Source: docs.hetzner.cloud, sections "Labels" and "Label Selector".
 */
export type Labels = Readonly<Record<string, string>>

const NAME = '[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?'
const DNS_LABEL = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?'
const NAME_ONLY = new RegExp(`^${NAME}$`)
const SUBDOMAIN = new RegExp(`^${DNS_LABEL}(?:\\.${DNS_LABEL})*$`)

/** What is wrong with a label key, or undefined. */
export const keyProblem = (key: string): string | undefined => {
  const slash = key.indexOf('/')
  const prefix = slash < 0 ? undefined : key.slice(0, slash)
  const name = slash < 0 ? key : key.slice(slash + 1)
  if (!NAME_ONLY.test(name)) return `invalid label key '${key}'`
  if (prefix === undefined) return undefined
  if (prefix.length > 253 || !SUBDOMAIN.test(prefix)) return `invalid prefix of label key '${key}'`
  if (prefix === 'hetzner.cloud') return `label key '${key}' uses a reserved prefix`
  return undefined
}

/** What is wrong with a label value, or undefined. */
export const valueProblem = (value: string): string | undefined =>
  value === '' || NAME_ONLY.test(value) ? undefined : `invalid label value '${value}'`

/** Everything that is wrong with a set of labels. */
export const labelProblems = (labels: Readonly<Record<string, unknown>>): string[] =>
  Object.entries(labels).flatMap(([key, value]) => {
    const problem =
      keyProblem(key) ?? (typeof value === 'string' ? valueProblem(value) : `value of label '${key}' must be a string`)
    return problem === undefined ? [] : [problem]
  })

/** One term of a selector; terms are joined by AND. */
export type Term =
  | { readonly kind: 'has' | 'lacks'; readonly key: string }
  | { readonly kind: 'in' | 'notin'; readonly key: string; readonly values: readonly string[] }

const parseTerm = (text: string): Term | undefined => {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text)
  if (set) {
    const [, key = '', word, list = ''] = set
    const values = list.split(',').map(value => value.trim())
    return keyProblem(key) || values.some(valueProblem) ? undefined : { kind: word === 'in' ? 'in' : 'notin', key, values }
  }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/.exec(text)
  if (equality) {
    const [, key = '', operator, value = ''] = equality
    return keyProblem(key) || valueProblem(value) ? undefined : { kind: operator === '!=' ? 'notin' : 'in', key, values: [value] }
  }
  const presence = /^(!?)\s*(\S+)$/.exec(text)
  const key = presence?.[2] ?? ''
  return keyProblem(key) ? undefined : { kind: presence?.[1] === '!' ? 'lacks' : 'has', key }
}

/** The terms of a selector, or undefined when it is empty or cannot be read. */
export const parseSelector = (text: string): Term[] | undefined => {
  const terms: Term[] = []
  // A comma inside parentheses separates values, not terms.
  for (const part of text.split(/,(?![^(]*\))/)) {
    const term = parseTerm(part.trim())
    if (!term) return undefined
    terms.push(term)
  }
  return terms
}

const matchesTerm = (term: Term, labels: Labels): boolean => {
  const value = Object.hasOwn(labels, term.key) ? labels[term.key] : undefined
  switch (term.kind) {
    case 'has':
      return value !== undefined
    case 'lacks':
      return value === undefined
    case 'in':
      return value !== undefined && term.values.includes(value)
    case 'notin':
      return value === undefined || !term.values.includes(value)
  }
}

export const matchesSelector = (terms: readonly Term[], labels: Labels): boolean => terms.every(term => matchesTerm(term, labels))
