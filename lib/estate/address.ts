/** IP addresses and CIDR ranges, normalised so that two spellings of one range compare equal. */

export interface Cidr {
  readonly version: 4 | 6
  /** The network address; host bits are zero. */
  readonly bits: bigint
  readonly prefix: number
}

const WIDTH = { 4: 32, 6: 128 } as const
const MAPPED_PREFIX = 0xffffn << 32n

const parseIpv4 = (text: string): bigint | undefined => {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let bits = 0n
  for (const part of parts) {
    // A leading zero means octal to some readers and decimal to others.
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    bits = (bits << 8n) | BigInt(part)
  }
  return bits
}

const parseGroups = (text: string): number[] | undefined => {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (part.includes('.')) {
      const v4 = index === parts.length - 1 ? parseIpv4(part) : undefined
      if (v4 === undefined) return undefined
      groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn))
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}

const parseIpv6 = (text: string): bigint | undefined => {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0] ?? '')
  const tail = parseGroups(halves[1] ?? '')
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined
  // An embedded IPv4 address may only end the whole text.
  if (halves.length === 2 && (halves[0] ?? '').includes('.')) return undefined
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail].reduce(
    (bits, group) => (bits << 16n) | BigInt(group),
    0n,
  )
}

const masked = (bits: bigint, version: 4 | 6, prefix: number): bigint => {
  const host = BigInt(WIDTH[version] - prefix)
  return (bits >> host) << host
}

/** An address or a range; a bare address is its own /32 or /128, host bits are cleared, IPv4-mapped IPv6 becomes IPv4. */
export const parseCidr = (text: string): Cidr | undefined => {
  const [address = '', prefixText, ...rest] = text.split('/')
  if (rest.length > 0) return undefined
  const v4 = parseIpv4(address)
  const bits = v4 ?? parseIpv6(address)
  if (bits === undefined) return undefined
  const version = v4 === undefined ? 6 : 4
  if (prefixText !== undefined && !/^(?:0|[1-9]\d{0,2})$/.test(prefixText)) return undefined
  const prefix = prefixText === undefined ? WIDTH[version] : Number(prefixText)
  if (prefix > WIDTH[version]) return undefined
  if (version === 6 && prefix >= 96 && bits >> 32n === MAPPED_PREFIX >> 32n)
    return { version: 4, bits: masked(bits & 0xffffffffn, 4, prefix - 96), prefix: prefix - 96 }
  return { version, bits: masked(bits, version, prefix), prefix }
}

const renderIpv6 = (bits: bigint): string => {
  const groups = Array.from({ length: 8 }, (_, index) => Number((bits >> BigInt(112 - index * 16)) & 0xffffn))
  let best = { start: -1, length: 1 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
  }
  const hex = groups.map(group => group.toString(16))
  if (best.start < 0) return hex.join(':')
  return `${hex.slice(0, best.start).join(':')}::${hex.slice(best.start + best.length).join(':')}`
}

/** The one spelling of a range: dotted decimal, or RFC 5952, always with its prefix. */
export const renderCidr = ({ version, bits, prefix }: Cidr): string =>
  `${version === 4 ? [24n, 16n, 8n, 0n].map(shift => (bits >> shift) & 0xffn).join('.') : renderIpv6(bits)}/${prefix}`

/** `text` in the one spelling, or undefined when it is neither an address nor a range. */
export const normaliseCidr = (text: string): string | undefined => {
  const cidr = parseCidr(text)
  return cidr === undefined ? undefined : renderCidr(cidr)
}

/** Whether every address of `inner` lies in `outer`. */
export const contains = (outer: Cidr, inner: Cidr): boolean =>
  outer.version === inner.version &&
  inner.prefix >= outer.prefix &&
  masked(inner.bits, inner.version, outer.prefix) === outer.bits

export const overlaps = (a: Cidr, b: Cidr): boolean => contains(a, b) || contains(b, a)
