/** The operator's SSH keys: which ones servers get, and which ones log in. */

import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createFileAtomic, writeFileAtomic } from './engine/files.ts'
import type { Environment } from './environment.ts'
import { LandfallError } from './errors.ts'
import { bareKey } from './estate/naming.ts'
import type { Identity } from './providers/ssh/identity.ts'
import { Secret } from './secret.ts'

type KeySources = Pick<Environment, 'sshKeyFile' | 'internet' | 'home'>

interface NamedKey {
  readonly name: string
  readonly publicKey: string
}

/** sshd hangs up at the sixth key that it does not know. */
const MOST_OFFERED = 5
const OWN = 'id_ed25519'
/** In the order in which one of them is taken as the operator's. */
const USUAL = ['id_ed25519', 'id_ecdsa', 'id_rsa'] as const

/** What the SSH agent holds. A key that was named in the environment is used alone, so nobody has to be asked then. */
export async function findAgentKeys({ sshKeyFile, lookup }: Environment): Promise<readonly string[]> {
  const socketPath = lookup('SSH_AUTH_SOCK')
  if (sshKeyFile !== undefined || socketPath === undefined) return []
  const { listAgentKeys } = await import('./providers/ssh/agent.ts')
  return listAgentKeys(socketPath)
}

export interface KeySearch {
  readonly environment: KeySources
  /** The estate's. */
  readonly directory: string
  /** Nothing is kept then, and so no trace is left. */
  readonly looksOnly: boolean
  /** The public lines that config.json names. */
  readonly named: readonly string[]
  /** The public lines of the agent's keys. */
  readonly held: readonly string[]
}

/**
 * The operator's own public key, which servers get beside those that config.json names: the one named in the environment, one made before,
 * or a usual one. Where there is none, and the agent holds no key that config.json names, one is made for this estate; its private half
 * stays in the estate's directory, mode 0600.
 * @throws LandfallError config when the public half of the named key is missing
 */
export async function findPublicKeys({ environment, directory, looksOnly, named, held }: KeySearch): Promise<NamedKey[]> {
  const only = (publicKey: string): NamedKey[] => [{ name: userName(), publicKey }]
  const { sshKeyFile } = environment
  if (sshKeyFile !== undefined) {
    if (existsSync(`${sshKeyFile}.pub`)) return only(readFileSync(`${sshKeyFile}.pub`, 'utf8').trim())
    throw new LandfallError('config', `LANDFALL_SSH_KEY names ${sshKeyFile}, but ${sshKeyFile}.pub is not there.`, {
      hint: `Make it: ssh-keygen -y -f ${sshKeyFile} > ${sshKeyFile}.pub`,
    })
  }
  const own = join(directory, OWN)
  // Of its own the private half counts: the public one follows from it.
  const [found] = [own, ...usualFiles(environment)].filter(file => existsSync(file === own ? own : `${file}.pub`))
  if (found !== undefined && existsSync(`${found}.pub`)) return only(readFileSync(`${found}.pub`, 'utf8').trim())
  if (found === undefined && heldOf(named, held).length > 0) return []
  return only(await makeOwnKey(own, looksOnly))
}

/**
 * Nothing locks the estate yet, so two runs may be here at once, or one may have been killed between the two files: whichever private half
 * is there first stays, and the public one follows from it.
 */
async function makeOwnKey(own: string, looksOnly: boolean): Promise<string> {
  const { generateKey, publicHalfOf } = await import('./providers/ssh/keys.ts')
  const pair = generateKey()
  if (looksOnly && !existsSync(own)) return pair.publicKey
  if (!looksOnly) {
    mkdirSync(dirname(own), { recursive: true, mode: 0o700 })
    await createFileAtomic(own, pair.privateKey.reveal())
  }
  const publicKey = publicHalfOf(new Secret(`SSH key ${own}`, readFileSync(own, 'utf8')))
  if (!looksOnly) await writeFileAtomic(`${own}.pub`, `${publicKey}\n`)
  return publicKey
}

/**
 * What to log in with, at most five keys: the one named in the environment alone; else the one made for this estate, or the usual files,
 * with those of the agent that the estate names. Without a made key the agent's others fill up, because somebody may have let one in by hand.
 */
export function findIdentities({ environment, directory, named, held }: Omit<KeySearch, 'looksOnly'>): readonly Identity[] {
  if (environment.sshKeyFile !== undefined) return [{ file: resolve(environment.sshKeyFile) }]
  const own = resolve(directory, OWN)
  const hasOwn = existsSync(own)
  const files = (hasOwn ? [own] : usualFiles(environment)).filter(file => existsSync(file) && !held.includes(publicLineOf(file)))
  const known = heldOf(named, held)
  const others = hasOwn || environment.internet ? [] : held.filter(key => !known.includes(key))
  const ranked: readonly Identity[] = [...files.map(file => ({ file })), ...[...known, ...others].map(agentKey => ({ agentKey }))]
  return ranked.slice(0, MOST_OFFERED)
}

const heldOf = (named: readonly string[], held: readonly string[]): string[] => {
  const wanted = new Set(named.map(bareKey))
  return held.filter(key => wanted.has(key))
}

/** A rehearsal leaves the operator's own keys out of it. */
const usualFiles = ({ internet, home }: KeySources): string[] =>
  internet === undefined ? USUAL.map(name => join(home, '.ssh', name)) : []

const publicLineOf = (file: string): string => (existsSync(`${file}.pub`) ? bareKey(readFileSync(`${file}.pub`, 'utf8')) : '')

/** The operator's name as far as the system tells; Bun asks the environment alone, which CI leaves empty. */
export const userName = (): string => {
  const { username, uid } = userInfo()
  return username !== 'unknown' ? username : uid === 0 ? 'root' : `uid-${uid}`
}
