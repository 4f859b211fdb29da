import { beforeEach, describe, expect, test } from 'bun:test'
import { LandfallError } from '../../../../lib/errors.ts'
import { createDokploy } from '../../../../lib/providers/dokploy/dokploy.ts'
import type { Dokploy } from '../../../../lib/providers/ports/dokploy.ts'
import { Secret } from '../../../../lib/secret.ts'
import { createFakePanel, createTestContext, type FakePanel, type TestContext } from './fake-panel.ts'

const PASSWORD = 'a-long-password-of-ours'
const ADMIN = { email: 'ops@example.com', password: new Secret('DOKPLOY_PASSWORD', PASSWORD), keyName: 'landfall' }
const HOST = { host: 'panel.example.com', letsEncryptEmail: 'ops@example.com' }

let panel: FakePanel
let context: TestContext
let dokploy: Dokploy

beforeEach(() => {
  panel = createFakePanel()
  context = createTestContext()
  dokploy = createDokploy({ baseUrl: 'http://127.0.0.1:3000', context, fetch: panel.fetch })
})

const failureOf = async (work: Promise<unknown>): Promise<LandfallError> => {
  try {
    await work
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('It did not fail.')
}

const claimed = async (): Promise<Secret> => (await dokploy.claim(ADMIN)).apiKey
const asked = (path: string) => panel.requests.filter(request => request.path === path)

describe('health', () => {
  test('it is up only with its database, starting without it, and down when nobody listens', async () => {
    expect(await dokploy.health()).toBe('up')
    panel.database = 'down'
    expect(await dokploy.health()).toBe('starting')
    panel.fault = () => 'before'
    expect(await dokploy.health()).toBe('down')
  })

  test('over a real connection, a port on which nobody listens is down', async () => {
    const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('') })
    const baseUrl = `http://127.0.0.1:${server.port}`
    expect(await createDokploy({ baseUrl, context }).health()).toBe('starting')
    await server.stop(true)
    expect(await createDokploy({ baseUrl, context }).health()).toBe('down')
  })
})

describe('claiming', () => {
  test('a fresh panel becomes ours, and its key is not rate limited', async () => {
    expect(await dokploy.hasAdmin()).toBe(false)
    const apiKey = await claimed()
    expect(await dokploy.hasAdmin()).toBe(true)
    expect(panel.admin).toEqual({ email: 'ops@example.com', password: PASSWORD })
    expect([...panel.keys.values()]).toEqual([{ id: 'key1', name: 'landfall', key: apiKey.reveal(), rateLimited: false }])
    expect(await dokploy.checkKey(apiKey)).toBe('valid')
    expect(await dokploy.checkKey(new Secret('K', 'some-other-key'))).toBe('invalid')
    expect(await dokploy.version(apiKey)).toBe('v0.30.2')
  })

  test('a panel that is ours already is signed in to, and the older key of the same name goes', async () => {
    await claimed()
    const second = await claimed()
    expect(asked('/api/auth/sign-up/email')).toHaveLength(1)
    expect([...panel.keys.values()].map(key => key.key)).toEqual([second.reveal()])
  })

  test('somebody else as admin is refused with a hint, and nothing is changed', async () => {
    panel.admin = { email: 'stranger@example.org', password: 'theirs-theirs' }
    const failure = await failureOf(dokploy.claim(ADMIN))
    expect(failure.code).toBe('refused')
    expect(failure.message).toContain('already has an admin that is not ours')
    expect(failure.hint).toContain('rebuild the server')
    expect(panel.keys.size).toBe(0)
  })

  test('somebody who signs up between the look and our sign-up is noticed', async () => {
    panel.fault = ({ path }) => {
      if (path === '/api/auth/sign-up/email') panel.admin = { email: 'stranger@example.org', password: 'theirs-theirs' }
      return undefined
    }
    expect((await failureOf(dokploy.claim(ADMIN))).code).toBe('refused')
  })

  test('a sign-up whose answer is lost is not repeated: we sign in as the admin that it made', async () => {
    panel.fault = ({ path }) => (path === '/api/auth/sign-up/email' ? 'after' : undefined)
    const apiKey = await claimed()
    expect(asked('/api/auth/sign-up/email')).toHaveLength(1)
    expect(await dokploy.checkKey(apiKey)).toBe('valid')
  })

  test('a sign-up that never arrived is sent again after several looks', async () => {
    panel.fault = ({ path }) => (path === '/api/auth/sign-up/email' && asked(path).length === 1 ? 'before' : undefined)
    await claimed()
    expect(asked('/api/auth/sign-up/email')).toHaveLength(2)
    expect(panel.admin?.email).toBe('ops@example.com')
  })

  test('a password that the panel does not take is its own error, not a stranger', async () => {
    const failure = await failureOf(dokploy.claim({ ...ADMIN, password: new Secret('P', 'short') }))
    expect(failure.vendorCode).toBe('PASSWORD_TOO_SHORT')
    expect(panel.admin).toBeUndefined()
  })

  test('the limit of sign-ins is waited for, as long as the panel says', async () => {
    panel.admin = { email: ADMIN.email, password: PASSWORD }
    panel.fault = ({ path }) =>
      path === '/api/auth/sign-in/email' && asked(path).length <= 2
        ? Response.json({ message: 'Too many requests.' }, { status: 429, headers: { 'x-retry-after': '7' } })
        : undefined
    await claimed()
    expect(context.waitsMs).toEqual([7_000, 7_000])
    expect(context.lines.join()).toContain('in 7 s')
  })

  test('a key whose value was lost on the way is deleted and made anew', async () => {
    panel.fault = ({ path }) => (path === '/api/user.createApiKey' && asked(path).length === 1 ? 'after' : undefined)
    const apiKey = await claimed()
    expect([...panel.keys.values()].map(key => key.key)).toEqual([apiKey.reveal()])
  })

  test('a key name that the panel would not take is refused before anything is sent', async () => {
    expect((await failureOf(dokploy.claim({ ...ADMIN, keyName: 'x'.repeat(33) }))).code).toBe('config')
    expect(panel.requests).toHaveLength(0)
  })

  test('a start page that says neither is an error, not an admin', async () => {
    panel.fault = () => new Response('', { status: 307, headers: { location: 'https://elsewhere.example.com/' } })
    expect((await failureOf(dokploy.hasAdmin())).code).toBe('vendor')
  })
})

describe('the panel host', () => {
  test('no certificate is ordered before Traefik knows the e-mail', async () => {
    const apiKey = await claimed()
    await dokploy.assignPanelHost(apiKey, HOST)
    expect(panel.traefik.orderedWith).toEqual(['ops@example.com'])
    expect(await dokploy.readPanel(apiKey)).toEqual({ ...HOST, https: true })
  })

  test('a second time nothing is written, and another host needs no reload', async () => {
    const apiKey = await claimed()
    await dokploy.assignPanelHost(apiKey, HOST)
    const { writes } = context.meter.snapshot().dokploy ?? { writes: 0 }
    await dokploy.assignPanelHost(apiKey, HOST)
    expect(context.meter.snapshot().dokploy?.writes).toBe(writes)
    await dokploy.assignPanelHost(apiKey, { ...HOST, host: 'other.example.com' })
    expect(asked('/api/settings.reloadTraefik')).toHaveLength(1)
    expect(panel.settings.host).toBe('other.example.com')
  })

  test('a run that died before the reload reloads the next time', async () => {
    const apiKey = await claimed()
    panel.fault = ({ path }) =>
      path === '/api/settings.reloadTraefik' ? Response.json({ message: 'no' }, { status: 403 }) : undefined
    await failureOf(dokploy.assignPanelHost(apiKey, HOST))
    expect(panel.settings.https).toBe(false)
    panel.fault = () => undefined
    await dokploy.assignPanelHost(apiKey, HOST)
    expect(panel.traefik.orderedWith).toEqual(['ops@example.com'])
  })

  test('a main file without the resolver fails every time, although the row was saved', async () => {
    const apiKey = await claimed()
    panel.resolver = false
    for (const _ of [1, 2, 3]) expect((await failureOf(dokploy.assignPanelHost(apiKey, HOST))).status).toBe(500)
    expect(panel.traefik.orderedWith).toEqual([])
  })

  test('a lost answer ends in the wanted host', async () => {
    const apiKey = await claimed()
    panel.fault = ({ path }) =>
      path === '/api/settings.assignDomainServer' && asked(path).length % 2 === 1 ? 'after' : undefined
    await dokploy.assignPanelHost(apiKey, HOST)
    expect(panel.settings).toMatchObject({ host: HOST.host, https: true, letsEncryptEmail: HOST.letsEncryptEmail })
  })

  test('the server address is set once and read back', async () => {
    const apiKey = await claimed()
    await dokploy.setServerIp(apiKey, '192.0.2.7')
    await dokploy.setServerIp(apiKey, '192.0.2.7')
    expect(asked('/api/settings.updateServerIp')).toHaveLength(1)
    expect((await dokploy.readPanel(apiKey)).serverIp).toBe('192.0.2.7')
  })

  test('a setting that does not stick is called unverified', async () => {
    const apiKey = await claimed()
    panel.fault = ({ path }) => (path === '/api/settings.updateServerIp' ? new Response('') : undefined)
    expect((await failureOf(dokploy.setServerIp(apiKey, '192.0.2.7'))).code).toBe('unverified')
  })
})

describe('what leaves this machine and this process', () => {
  test('a key never travels in clear across the network', async () => {
    const at = (baseUrl: string) => () => createDokploy({ baseUrl, context, fetch: panel.fetch })
    expect(at('http://192.0.2.1:3000')).toThrow(LandfallError)
    expect(at('http://127.0.0.1.example.com')).toThrow(LandfallError)
    expect(at('ftp://127.0.0.1')).toThrow(LandfallError)
    for (const fine of ['https://panel.example.com', 'http://localhost:3000', 'http://[::1]:3000']) expect(at(fine)).not.toThrow()
  })

  test('a busy panel is asked again within bounds, and the wait is in the log', async () => {
    const apiKey = await claimed()
    panel.fault = ({ path }) =>
      path === '/api/settings.getDokployVersion' && asked(path).length < 3 ? new Response('<html>', { status: 502 }) : undefined
    expect(await dokploy.version(apiKey)).toBe('v0.30.2')
    expect(context.lines).toHaveLength(2)
    panel.fault = () => 'before'
    expect((await failureOf(dokploy.version(apiKey))).code).toBe('network')
  })

  test('what the panel shows is four fields, and no error or setting holds a secret or a control character', async () => {
    const apiKey = await claimed()
    const panelSettings = await dokploy.readPanel(apiKey)
    panel.fault = () => Response.json({ message: `\u001b[2Jno\n${'x'.repeat(999)}` }, { status: 403 })
    const failure = await failureOf(dokploy.version(apiKey))
    const printed = Bun.inspect([failure, panelSettings, apiKey, context.lines], { depth: 10 })
    for (const secret of [PASSWORD, apiKey.reveal(), 'PRIVATE', 'session_token']) expect(printed).not.toContain(secret)
    expect(failure.message).not.toMatch(/[\u0000-\u001f\u007f]/)
    expect(failure.message.length).toBeLessThan(400)
  })

  test('an interrupt ends a read at once', async () => {
    const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response(new ReadableStream({})) })
    const real = createDokploy({ baseUrl: `http://127.0.0.1:${server.port}`, context })
    const reading = failureOf(real.hasAdmin())
    context.controller.abort()
    expect((await reading).code).toBe('cancelled')
    await server.stop(true)
  })
})
