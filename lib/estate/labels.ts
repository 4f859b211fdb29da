/**
 * Labels: how Landfall knows its own objects again. The vendor's grammar is checked here, because a value that it refuses would
 * only be found after money was spent (Hetzner's API reference, "Labels").
 */

export const LABEL_KEYS = {
  estate: 'landfall/estate',
  role: 'landfall/role',
  /** The run that created it: tells "our own lost answer" from "somebody else's namesake". */
  run: 'landfall/run',
  /** The pinned SSH host key, see `encodeHostKey`. */
  hostKey: 'landfall/hostkey',
  /** A host key that is about to replace the pinned one; left behind only by a run that was cut short. */
  nextHostKey: 'landfall/hostkey-next',
  /** `bootstrap`: the pinned key travelled in cloud-init. `pinned`: only the machine has its private half. */
  trust: 'landfall/trust',
  /** On servers: the number of the pull request that it is a preview of. */
  pullRequest: 'landfall/pr',
  /** `nixos`: the server was created to have NixOS installed over its image, so that nothing on its disk is anybody's. */
  os: 'landfall/os',
  /** On servers: the Dokploy server whose swarm it was made to work for. */
  joins: 'landfall/joins',
  /** On primary IPs: the server that they wait for. */
  keptFor: 'landfall/kept-for',
  /** On snapshots: what the image was built for. */
  image: 'landfall/image',
  /** On snapshots: hash of everything that the image was made of. */
  content: 'landfall/content',
  /** On snapshots: commit of those sources. */
  revision: 'landfall/revision',
  nixos: 'landfall/nixos',
  dokploy: 'landfall/dokploy',
} as const

type LabelMap = Readonly<Record<string, string>>

export const labelsFor = (estate: string, role: string, runId: string): LabelMap => ({
  [LABEL_KEYS.estate]: estate,
  [LABEL_KEYS.role]: role,
  [LABEL_KEYS.run]: runId,
})

export const isOurs = (labels: LabelMap, estate: string): boolean => labels[LABEL_KEYS.estate] === estate

/** Whether an object that answers to our name carries the labels of exactly this run: then the lost answer was a success. */
export const isFromRun = (labels: LabelMap, estate: string, runId: string): boolean =>
  isOurs(labels, estate) && labels[LABEL_KEYS.run] === runId

const WORD = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/
const PREFIX = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/

const keyProblem = (key: string): string | undefined => {
  const parts = key.split('/')
  const name = parts.at(-1) ?? ''
  if (parts.length > 2) return 'has more than one slash'
  if (!WORD.test(name)) return 'must have 1 to 63 letters, digits, "-", "_" or ".", and begin and end with a letter or digit'
  if (parts.length === 1) return undefined
  const prefix = parts[0] ?? ''
  if (prefix === 'hetzner.cloud') return 'begins with "hetzner.cloud/", which is reserved'
  return prefix.length <= 253 && PREFIX.test(prefix) ? undefined : 'needs a host name of at most 253 characters before the slash'
}

/** What the vendor would refuse, as sentences without a full stop; empty when all is well. */
export const labelProblems = (labels: LabelMap): readonly string[] =>
  Object.entries(labels).flatMap(([key, value]) => {
    const problems: string[] = []
    const wrongKey = keyProblem(key)
    if (wrongKey !== undefined) problems.push(`label key ${JSON.stringify(key)} ${wrongKey}`)
    if (value !== '' && !WORD.test(value))
      problems.push(
        `label ${JSON.stringify(key)} has the value ${JSON.stringify(value)}, which must be empty or 1 to 63 letters, digits, "-", "_" or ".", beginning and ending with a letter or digit`,
      )
    return problems
  })

// RFC 8709: the string "ssh-ed25519", then the 32 bytes, each with a four-byte length before it.
const ED25519_HEADER = Buffer.from([0, 0, 0, 11, ...Buffer.from('ssh-ed25519'), 0, 0, 0, 32])

/**
 * A host key as a label's value: `k`, the raw 32 bytes in base64url, `k` (a value may not begin or end with "-" or "_").
 * @param publicKey `ssh-ed25519 AAAA…`, with or without a comment
 */
export const encodeHostKey = (publicKey: string): string => {
  const [type, base64 = ''] = publicKey.trim().split(/\s+/)
  const bytes = Buffer.from(base64, 'base64')
  const header = bytes.subarray(0, ED25519_HEADER.length)
  if (type !== 'ssh-ed25519' || bytes.length !== ED25519_HEADER.length + 32 || !header.equals(ED25519_HEADER))
    throw new Error('bug: this is not an ed25519 public key')
  return `k${bytes.subarray(ED25519_HEADER.length).toString('base64url')}k`
}

/** The `ssh-ed25519 AAAA…` line behind a label's value, or undefined when it holds none. */
export const decodeHostKey = (value: string): string | undefined => {
  const base64url = /^k([A-Za-z0-9_-]{43})k$/.exec(value)?.[1]
  if (base64url === undefined) return undefined
  const line = `ssh-ed25519 ${Buffer.concat([ED25519_HEADER, Buffer.from(base64url, 'base64url')]).toString('base64')}`
  // 43 characters hold 258 bits: two spellings of one key would make two pins look different.
  return encodeHostKey(line) === value ? line : undefined
}
