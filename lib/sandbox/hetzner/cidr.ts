/** IP addresses and CIDR blocks as numbers: what validation, allocation and firewalls need, and nothing more. Pure. */

export interface Ip {
  readonly version: 4 | 6
  readonly value: bigint
}

export interface Cidr extends Ip {
  readonly prefix: number
}

const parseIpv4 = (text: string): bigint | undefined => {
  if (!/^(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})$/.test(text)) return undefined
  const parts = text.split('.').map(Number)
  return parts.every(part => part <= 255) ? parts.reduce((sum, part) => sum * 256n + BigInt(part), 0n) : undefined
}

const parseIpv6 = (text: string): bigint | undefined => {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const groupsOf = (half: string): string[] => (half === '' ? [] : half.split(':'))
  const [head, tail] = [groupsOf(halves[0] ?? ''), groupsOf(halves[1] ?? '')]
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...Array.from({ length: missing }, () => '0'), ...tail]
  if (!groups.every(group => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined
  return groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n)
}

export const parseIp = (text: string): Ip | undefined => {
  const v4 = parseIpv4(text)
  if (v4 !== undefined) return { version: 4, value: v4 }
  const v6 = text.includes(':') ? parseIpv6(text) : undefined
  return v6 === undefined ? undefined : { version: 6, value: v6 }
}

/** "10.0.0.0/16" as numbers; undefined when it is not in CIDR notation. Host bits may be set: see `hasHostBits`. */
export const parseCidr = (text: string): Cidr | undefined => {
  const match = /^([^/]+)\/(0|[1-9][0-9]{0,2})$/.exec(text)
  const ip = parseIp(match?.[1] ?? '')
  const prefix = Number(match?.[2])
  if (!ip || prefix > bitsOf(ip)) return undefined
  return { ...ip, prefix }
}

export const bitsOf = (ip: Ip): number => (ip.version === 4 ? 32 : 128)

/** How many addresses a block holds. */
export const sizeOf = (cidr: Cidr): bigint => 1n << BigInt(bitsOf(cidr) - cidr.prefix)

export const hasHostBits = (cidr: Cidr): boolean => cidr.value % sizeOf(cidr) !== 0n

/** Whether `inner` lies wholly inside `outer`. */
export const contains = (outer: Cidr, inner: Cidr): boolean =>
  outer.version === inner.version && inner.prefix >= outer.prefix && inner.value / sizeOf(outer) === outer.value / sizeOf(outer)

export const overlaps = (a: Cidr, b: Cidr): boolean => contains(a, b) || contains(b, a)

export const asHost = (ip: Ip): Cidr => ({ ...ip, prefix: bitsOf(ip) })

const renderIpv6 = (value: bigint): string => {
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  const zerosFrom = (start: number): number => {
    const end = groups.findIndex((group, i) => i >= start && group !== '0')
    return (end < 0 ? 8 : end) - start
  }
  // RFC 5952: the longest run of two or more zero groups is compressed, the first one when there are equals.
  const at = groups.reduce((best, _, i) => (zerosFrom(i) > zerosFrom(best) ? i : best), 0)
  const zeros = zerosFrom(at)
  return zeros < 2 ? groups.join(':') : `${groups.slice(0, at).join(':')}::${groups.slice(at + zeros).join(':')}`
}

export const renderIp = (ip: Ip): string =>
  ip.version === 6 ? renderIpv6(ip.value) : [24n, 16n, 8n, 0n].map(shift => (ip.value >> shift) & 255n).join('.')

export const renderCidr = (cidr: Cidr): string => `${renderIp(cidr)}/${cidr.prefix}`

const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].flatMap(text => parseCidr(text) ?? [])

/** RFC 1918, the only ranges that a private network may have. */
export const isPrivate = (cidr: Cidr): boolean => PRIVATE.some(range => contains(range, cidr))
