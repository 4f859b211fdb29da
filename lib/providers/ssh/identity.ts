/** With which keys we log in. Both clients offer these and no others: a server hangs up after a few keys that it does not know. */

/** A private key's file, or the public line (type and blob) of a key that the SSH agent holds. */
export type Identity = { readonly file: string } | { readonly agentKey: string }

export const filesOf = (identities: readonly Identity[]): readonly string[] =>
  identities.flatMap(each => ('file' in each ? [each.file] : []))

export const agentKeysOf = (identities: readonly Identity[]): readonly string[] =>
  identities.flatMap(each => ('agentKey' in each ? [each.agentKey] : []))

/** In words, for a refusal. Without identities, ssh offers what it finds. */
export function describeIdentities(identities: readonly Identity[]): string {
  if (identities.length === 0) return 'the keys of the SSH agent and ~/.ssh'
  const held = agentKeysOf(identities).length
  const parts = [
    ...filesOf(identities).map(file => `the key ${file}`),
    ...(held === 0 ? [] : [held === 1 ? 'a key of the SSH agent' : `${held} keys of the SSH agent`]),
  ]
  return parts.length === 1 ? (parts[0] ?? '') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`
}
