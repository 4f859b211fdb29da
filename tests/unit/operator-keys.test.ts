import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readEnvironment } from '../../lib/environment.ts'
import { findAgentKeys, findIdentities, findPublicKeys, type KeySearch } from '../../lib/operator-keys.ts'
import { parseIdentities } from '../../lib/providers/ssh/agent.ts'
import { generateKey, publicHalfOf } from '../../lib/providers/ssh/keys.ts'
import { Secret } from '../../lib/secret.ts'

let home: string
const servers: Server[] = []

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'landfall-keys-'))
})
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
  rmSync(home, { recursive: true, force: true })
})

const key = (): string => generateKey().publicKey
const estate = () => join(home, 'estate')
const search = (more: Partial<KeySearch> & { readonly variables?: Readonly<Record<string, string>> } = {}): KeySearch => ({
  environment: readEnvironment({ HOME: home, ...more.variables }),
  directory: estate(),
  looksOnly: false,
  named: [],
  held: [],
  ...more,
})
/** A pair of files; answers with the public line. */
const pair = (...path: string[]): string => {
  const file = join(home, ...path)
  mkdirSync(join(file, '..'), { recursive: true })
  const publicKey = key()
  writeFileSync(file, 'private half')
  writeFileSync(`${file}.pub`, `${publicKey} me@laptop\n`)
  return publicKey
}
const own = () => join(estate(), 'id_ed25519')

describe('the public keys that servers get', () => {
  test('one is made where there is none, with its private half for its owner alone', async () => {
    const [made] = await findPublicKeys(search())
    expect(made?.publicKey).toStartWith('ssh-ed25519 ')
    expect(statSync(own()).mode & 0o777).toBe(0o600)
    expect(await findPublicKeys(search())).toEqual([made ?? { name: '', publicKey: '' }])
  })

  test('of many runs at once one makes it, and all of them use that one', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => findPublicKeys(search())))
    const lines = new Set(made.map(([each]) => each?.publicKey))
    expect([...lines]).toEqual([publicHalfOf(new Secret('key', readFileSync(own(), 'utf8')))])
    expect(readFileSync(`${own()}.pub`, 'utf8').trim()).toBe([...lines][0] ?? '')
    expect(readdirSync(estate()).toSorted()).toEqual(['id_ed25519', 'id_ed25519.pub'])
  })

  test('one whose making was cut off after its private half is kept, before any usual one', async () => {
    const [made] = await findPublicKeys(search())
    rmSync(`${own()}.pub`)
    pair('.ssh', 'id_ed25519')
    expect((await findPublicKeys(search({ looksOnly: true })))[0]).toEqual(made as NonNullable<typeof made>)
    expect(existsSync(`${own()}.pub`)).toBe(false)
    expect((await findPublicKeys(search()))[0]).toEqual(made as NonNullable<typeof made>)
    expect(existsSync(`${own()}.pub`)).toBe(true)
  })

  test('one that is not whole is named, and never replaced', async () => {
    mkdirSync(estate())
    for (const text of ['', 'private half', generateKey().privateKey.reveal().slice(0, 60)]) {
      writeFileSync(own(), text)
      const failure = await findPublicKeys(search()).catch((error: unknown) => error)
      expect(failure).toMatchObject({ code: 'config', message: expect.stringContaining(own()) })
      expect(readFileSync(own(), 'utf8')).toBe(text)
    }
  })

  test('a look leaves none behind', async () => {
    expect(await findPublicKeys(search({ looksOnly: true }))).toHaveLength(1)
    expect(existsSync(estate())).toBe(false)
  })

  test('none is made for somebody whose agent holds one that the estate names', async () => {
    const mine = key()
    expect(await findPublicKeys(search({ named: [key(), `${mine} me@laptop`], held: [key(), mine] }))).toEqual([])
    expect(existsSync(estate())).toBe(false)
  })

  test('one is made where the agent holds only keys that nobody named', async () => {
    expect(await findPublicKeys(search({ named: [key()], held: [key(), key()] }))).toHaveLength(1)
    expect(existsSync(own())).toBe(true)
  })

  test('a usual one is taken, and in a rehearsal none of the operator’s', async () => {
    const usual = pair('.ssh', 'id_rsa')
    expect((await findPublicKeys(search()))[0]?.publicKey).toBe(`${usual} me@laptop`)
    const rehearsed = await findPublicKeys(search({ variables: { LANDFALL_INTERNET: '127.0.0.1:9' } }))
    expect(rehearsed[0]?.publicKey).not.toContain(usual)
  })

  test('a named one without its public half stops with the command that makes it', async () => {
    const file = join(home, 'mine')
    const failure = await findPublicKeys(search({ variables: { LANDFALL_SSH_KEY: file } })).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'config', hint: `Make it: ssh-keygen -y -f ${file} > ${file}.pub` })
  })
})

describe('what logs in', () => {
  test('the key that was named in the environment, and nothing else', () => {
    const mine = pair('mine')
    pair('.ssh', 'id_ed25519')
    const variables = { LANDFALL_SSH_KEY: join(home, 'mine') }
    expect(findIdentities(search({ variables, named: [mine], held: [mine] }))).toEqual([{ file: join(home, 'mine') }])
  })

  test('the one made for the estate, and the agent’s that the estate names: none of its others', () => {
    pair('estate', 'id_ed25519')
    pair('.ssh', 'id_ed25519')
    const named = key()
    const held = [...Array.from({ length: 20 }, key), named]
    expect(findIdentities(search({ named: [`${named} colleague`], held }))).toEqual([{ file: own() }, { agentKey: named }])
  })

  test('without a made one: the usual files, then the agent’s, those that the estate names first, five in all', () => {
    pair('.ssh', 'id_ed25519')
    const named = key()
    const others = Array.from({ length: 20 }, key)
    expect(findIdentities(search({ named: [named], held: [...others, named] }))).toEqual([
      { file: join(home, '.ssh/id_ed25519') },
      { agentKey: named },
      ...others.slice(0, 3).map(agentKey => ({ agentKey })),
    ])
  })

  test('a file whose key the agent holds is left to the agent, which knows its passphrase', () => {
    const mine = pair('.ssh', 'id_ed25519')
    expect(findIdentities(search({ named: [mine], held: [mine] }))).toEqual([{ agentKey: mine }])
  })

  test('in a rehearsal neither the operator’s files nor keys that nobody named', () => {
    pair('.ssh', 'id_ed25519')
    expect(findIdentities(search({ variables: { LANDFALL_INTERNET: '127.0.0.1:9' }, held: [key()] }))).toEqual([])
  })
})

describe('the agent', () => {
  const answering = async (answer: Buffer | undefined): Promise<string> => {
    const socket = join(home, `agent-${servers.length}`)
    const server = createServer(near => {
      near.on('error', () => undefined)
      near.once('data', () => void (answer && near.end(answer)))
    })
    servers.push(server)
    await new Promise<void>(resolve => server.listen(socket, resolve))
    return socket
  }
  const asked = (socket: string, more: Readonly<Record<string, string>> = {}) =>
    findAgentKeys(readEnvironment({ SSH_AUTH_SOCK: socket, ...more }))
  const sized = (bytes: Buffer | string): Buffer => {
    const content = Buffer.from(bytes)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(content.length)
    return Buffer.concat([length, content])
  }
  const message = (...lines: string[]): Buffer =>
    Buffer.concat([
      Buffer.from([12, 0, 0, 0, lines.length]),
      ...lines.flatMap(line => [sized(Buffer.from(line.split(' ')[1] ?? '', 'base64')), sized('a comment')]),
    ])

  test('tells the public lines of its keys', async () => {
    const keys = [key(), key()]
    expect(await asked(await answering(sized(message(...keys))))).toEqual(keys)
  })

  test('is not asked when a key was named', async () => {
    expect(await asked(await answering(sized(message(key()))), { LANDFALL_SSH_KEY: '/keys/mine' })).toEqual([])
  })

  test('that is gone, silent, locked or talks nonsense holds none', async () => {
    expect(await asked(join(home, 'nobody'))).toEqual([])
    expect(await asked(await answering(sized(Buffer.from([5]))))).toEqual([])
    expect(await asked(await answering(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')))).toEqual([])
    expect(await asked(await answering(sized('')))).toEqual([])
    const startedMs = performance.now()
    expect(await asked(await answering(undefined))).toEqual([])
    expect(performance.now() - startedMs).toBeLessThan(5_000)
  })

  test('a message that is cut off anywhere holds none', () => {
    const whole = message(key(), key())
    for (let length = 0; length < whole.length; length += 1) expect(parseIdentities(whole.subarray(0, length))).toEqual([])
    expect(parseIdentities(whole)).toHaveLength(2)
  })
})
