/** Where moves, certificates and the list of orders lie: files of the estate's directory, whole or not there, readable by their owner alone. */

import { X509Certificate } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory, writeFileAtomic } from '../engine/files.ts'
import { LandfallError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { type OrderEntry, parseOrders, renderOrder } from './budget.ts'
import { type Move, parseMove, renderMove } from './move.ts'

/** A certificate from the order on: the key is kept before the order is finished, so that no kill costs a second order. */
export interface StoredCertificate {
  readonly server: string
  /** Sorted. */
  readonly names: readonly string[]
  readonly directory: string
  readonly orderUrl?: string
  readonly privateKey: Secret
  /** PEM with its chain; absent while the order is unfinished. */
  readonly certificate?: string
}

export interface MoveStore {
  readonly directory: string
  readMove(name: string): Promise<Move | undefined>
  /** On disk when it resolves. */
  writeMove(move: Move): Promise<void>
  /** Puts a finished move's file aside under the time of its snapshot. */
  archiveMove(move: Move): Promise<void>
  /** Every name that has a move. */
  listMoves(): Promise<readonly string[]>
  readCertificate(server: string): Promise<StoredCertificate | undefined>
  writeCertificate(certificate: StoredCertificate): Promise<void>
  readOrders(): Promise<readonly OrderEntry[]>
  addOrder(entry: OrderEntry): Promise<void>
  /** The account's key at one authority; made on first need. */
  accountKey(directoryUrl: string, make: () => Secret): Promise<Secret>
  /** The same, when there is one. */
  findAccountKey(directoryUrl: string): Promise<Secret | undefined>
}

const NAME = /^[a-z0-9][a-z0-9.-]*$/

export function openMoveStore(directory: string): MoveStore {
  const folder = async (name: string): Promise<string> => {
    const path = join(directory, name)
    await mkdir(path, { recursive: true, mode: 0o700 })
    return path
  }
  const pathOf = (kind: 'moves' | 'certificates' | 'acme', name: string): string => {
    if (!NAME.test(name)) throw new Error(`bug: "${name}" is no name for a file`)
    return join(directory, kind, `${name}.json`)
  }
  const accountFile = (url: string): string => pathOf('acme', `account-${new URL(url).host.replace(/[^a-z0-9.-]/g, '-')}`)
  const findAccountKey = async (url: string): Promise<Secret | undefined> => {
    const text = await readText(accountFile(url))
    return text === undefined ? undefined : new Secret('ACME account key', String(fieldsOf(text, accountFile(url)).privateKey))
  }
  return {
    directory,
    async readMove(name) {
      const path = pathOf('moves', name)
      const text = await readText(path)
      return text === undefined ? undefined : parseMove(text, path)
    },
    async writeMove(move) {
      await folder('moves')
      await writeFileAtomic(pathOf('moves', move.name), renderMove(move))
    },
    async archiveMove(move) {
      const stamp = new Date(move.takenAtMs).toISOString().replaceAll(/[:.]/g, '-').toLowerCase()
      await rename(pathOf('moves', move.name), pathOf('moves', `${move.name}.before-${stamp}`))
      await syncDirectory(join(directory, 'moves'))
    },
    async listMoves() {
      const files = await readdir(join(directory, 'moves')).catch(absent)
      return (files ?? []).flatMap(file => (/\.json$/.test(file) && !file.includes('.before-') ? [file.slice(0, -5)] : [])).sort()
    },
    async readCertificate(server) {
      const path = pathOf('certificates', server)
      const text = await readText(path)
      return text === undefined ? undefined : toCertificate(server, fieldsOf(text, path))
    },
    async writeCertificate({ privateKey, ...rest }) {
      await folder('certificates')
      await writeFileAtomic(
        pathOf('certificates', rest.server),
        `${JSON.stringify({ ...rest, privateKey: privateKey.reveal() }, null, 2)}\n`,
      )
    },
    async readOrders() {
      return parseOrders((await readText(join(directory, 'acme', 'orders.ndjson'))) ?? '')
    },
    async addOrder(entry) {
      const path = join(await folder('acme'), 'orders.ndjson')
      // A line that a kill has torn must not take this one along.
      const before = await readText(path)
      const gap = before === undefined || before === '' || before.endsWith('\n') ? '' : '\n'
      const handle = await open(path, 'a', 0o600)
      try {
        await handle.appendFile(`${gap}${renderOrder(entry)}`)
        await handle.sync()
      } finally {
        await handle.close()
      }
    },
    async accountKey(url, make) {
      const found = await findAccountKey(url)
      if (found) return found
      const made = make()
      await folder('acme')
      await writeFileAtomic(accountFile(url), `${JSON.stringify({ directory: url, privateKey: made.reveal() })}\n`)
      return made
    },
    findAccountKey,
  }
}

/** The moves that are kept, by name: of every name, or of those that are asked for. */
export async function readMoves(
  store: Pick<MoveStore, 'listMoves' | 'readMove'>,
  names?: readonly string[],
): Promise<Readonly<Record<string, Move>>> {
  const wanted = names ?? (await store.listMoves())
  const kept = await Promise.all(wanted.map(async name => ({ name, move: await store.readMove(name) })))
  return Object.fromEntries(kept.flatMap(({ name, move }) => (move ? [[name, move]] : [])))
}

/** When a certificate ends and what it is called by; undefined for text that is none. */
export function readPem(pem: string):
  | {
      readonly notAfterMs: number
      readonly fingerprint: string
      readonly names: readonly string[]
      covers(name: string): boolean
    }
  | undefined {
  try {
    const parsed = new X509Certificate(pem)
    return {
      notAfterMs: Date.parse(parsed.validTo),
      fingerprint: parsed.fingerprint256,
      names: (parsed.subjectAltName ?? '').split(', ').map(each => each.replace(/^DNS:/, '')),
      covers: name => parsed.checkHost(name) !== undefined,
    }
  } catch {
    // A torn or foreign file: as if there were none.
    return undefined
  }
}

const absent = (error: unknown): undefined => {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
  throw error
}

const readText = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(absent)

function fieldsOf(text: string, path: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value))
  } catch (error) {
    throw new LandfallError('config', `${path} is no JSON.`, { hint: 'Move it away; it is made anew.', cause: error })
  }
  throw new LandfallError('config', `${path} holds no object.`, { hint: 'Move it away; it is made anew.' })
}

function toCertificate(server: string, fields: Readonly<Record<string, unknown>>): StoredCertificate {
  const { names, directory, orderUrl, privateKey, certificate } = fields
  return {
    server,
    names: Array.isArray(names) ? names.filter(each => typeof each === 'string') : [],
    directory: typeof directory === 'string' ? directory : '',
    privateKey: new Secret(`key of the certificate of ${server}`, typeof privateKey === 'string' ? privateKey : ''),
    ...(typeof orderUrl === 'string' ? { orderUrl } : {}),
    ...(typeof certificate === 'string' ? { certificate } : {}),
  }
}
