/**
 * Whether a certificate authority may issue for a name, by the CAA records that it would find (RFC 8659, RFC 8657). Pure: what each name's
 * servers answered is handed in. Let's Encrypt follows CNAMEs, so the former host's records decide as long as a name is its alias.
 */

import type { DnsAnswer } from '../providers/ports/outside.ts'

export interface CaaRequest {
  /** Without the star of a wildcard. */
  readonly name: string
  readonly wildcard?: boolean
  /** The authority's own words for itself: "letsencrypt.org". */
  readonly identities: readonly string[]
  readonly method: 'dns-01' | 'http-01' | 'tls-alpn-01'
  /** The account that asks, where it is known. */
  readonly accountUri?: string
}

/** What is known of one name: what each of its servers says, and the alias's target where it is one. */
export interface CaaFacts {
  readonly answers: readonly Pick<DnsAnswer, 'server' | 'status' | 'values'>[]
  readonly alias?: string
}

export type CaaVerdict =
  | { readonly state: 'allowed'; readonly because: string }
  | { readonly state: 'forbidden'; readonly why: string; readonly hint: string }

interface Property {
  readonly critical: boolean
  readonly tag: string
  readonly value: string
}

const MAX_ALIASES = 8

/** The names whose CAA records may matter for `name`, nearest first; an alias's target is asked in its place, never climbed (RFC 8659 3). */
export const caaTree = (name: string): string[] => {
  const labels = name.toLowerCase().replace(/\.$/, '').split('.')
  return labels.map((_, index) => labels.slice(index).join('.'))
}

/** @param facts by name; a name that is missing counts as one that could not be asked */
export function evaluateCaa(request: CaaRequest, facts: ReadonlyMap<string, CaaFacts>): CaaVerdict {
  for (const name of caaTree(request.name)) {
    const found = setAt(name, facts)
    if (found.state === 'broken') return forbidden(found.why)
    const empty = found.sets.filter(({ properties }) => properties.length === 0)
    if (empty.length === found.sets.length) continue
    // Servers that disagree: the strictest one may be the one that is asked.
    const verdicts = found.sets.map(({ server, properties }) =>
      properties.length === 0 ? undefined : judge(request, found.at, server, properties),
    )
    const refusal = verdicts.find(verdict => verdict?.state === 'forbidden')
    if (refusal) return refusal
    return verdicts.find(verdict => verdict !== undefined) ?? { state: 'allowed', because: 'no CAA record stands in the way' }
  }
  return { state: 'allowed', because: 'no CAA record stands in the way' }
}

type SetAt =
  | { readonly state: 'broken'; readonly why: string }
  | {
      readonly state: 'read'
      readonly at: string
      readonly sets: readonly { readonly server: string; readonly properties: readonly Property[] }[]
    }

/** The CAA set of one name, aliases followed. */
function setAt(name: string, facts: ReadonlyMap<string, CaaFacts>): SetAt {
  let at = name
  for (let hop = 0; hop <= MAX_ALIASES; hop++) {
    const known = facts.get(at)
    if (known === undefined || known.answers.length === 0) {
      // Above the zone somebody else's servers answer, and the top-level domains publish none.
      if (known === undefined && !name.includes('.')) return { state: 'read', at, sets: [] }
      return { state: 'broken', why: `no name server could be asked for CAA of ${at}` }
    }
    const broken = known.answers.find(answer => answer.status !== 'ok' && answer.status !== 'nxdomain')
    if (broken) return { state: 'broken', why: `${broken.server} answers ${broken.status} when asked for CAA of ${at}` }
    const own = known.answers.map(({ server, values }) => ({ server, properties: values.flatMap(parseProperty) }))
    if (known.alias === undefined || own.some(({ properties }) => properties.length > 0)) return { state: 'read', at, sets: own }
    at = known.alias
  }
  return { state: 'broken', why: `${name} is an alias of an alias, more than ${MAX_ALIASES} times` }
}

function judge(request: CaaRequest, at: string, server: string, properties: readonly Property[]): CaaVerdict {
  const strange = properties.find(({ critical, tag }) => critical && !['issue', 'issuewild', 'iodef'].includes(tag))
  if (strange) return forbidden(`${at} has a critical CAA property "${strange.tag}" that no authority may pass over`)
  const wild = properties.filter(({ tag }) => tag === 'issuewild')
  const relevant = request.wildcard === true && wild.length > 0 ? wild : properties.filter(({ tag }) => tag === 'issue')
  if (relevant.length === 0) return { state: 'allowed', because: `the CAA records of ${at} limit nothing` }
  const whys = relevant.map(property => whyNot(request, property.value))
  if (whys.includes(undefined))
    return { state: 'allowed', because: `the CAA records of ${at} name ${request.identities[0] ?? 'it'}` }
  const list = relevant.map(({ tag, value }) => `${tag} "${value}"`).join(', ')
  const reason = whys.find(why => why !== 'another authority')
  return {
    state: 'forbidden',
    why: `CAA of ${at} (${server}) has only ${list}${reason ? `: ${reason}` : ''}`,
    hint: `Add a CAA record at ${at}: 0 issue "${request.identities[0] ?? ''}"`,
  }
}

/** undefined when the property lets the request through. */
function whyNot(request: CaaRequest, value: string): string | undefined {
  const [issuer = '', ...rest] = value.split(';').map(part => part.trim())
  if (!request.identities.some(each => each.toLowerCase() === issuer.toLowerCase())) return 'another authority'
  const parameters = rest.flatMap(part => {
    const [key = '', ...words] = part.split('=')
    return part === '' ? [] : [{ key: key.trim().toLowerCase(), value: words.join('=').trim() }]
  })
  const methods = parameters.find(({ key }) => key === 'validationmethods')?.value
  if (methods !== undefined && !methods.split(',').some(each => each.trim() === request.method))
    return `it allows the methods ${methods} only, not ${request.method}`
  const account = parameters.find(({ key }) => key === 'accounturi')?.value
  // An account that does not exist yet can not be the one that is named.
  if (account !== undefined && account !== request.accountUri) return `it allows the account ${account} only`
  return undefined
}

const forbidden = (why: string): CaaVerdict => ({
  state: 'forbidden',
  why: `${why}, which an authority takes for a no`,
  hint: 'Mend the zone’s name servers or its CAA records, then run the same command again.',
})

/** `0 issue "letsencrypt.org; validationmethods=dns-01"` */
function parseProperty(text: string): Property[] {
  const match = /^\s*(\d{1,3})\s+([a-z0-9]+)\s+(?:"([^"]*)"|(\S*))\s*$/i.exec(text)
  if (match === null) return []
  return [{ critical: (Number(match[1]) & 128) !== 0, tag: (match[2] ?? '').toLowerCase(), value: match[3] ?? match[4] ?? '' }]
}
