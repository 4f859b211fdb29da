import { describe, expect, test } from 'bun:test'
import { openStore } from '../../../lib/sandbox/store.ts'
import { ADMIN, createPanel, JSON_TYPE } from './panel.ts'

describe('health', () => {
  test('the process and its database are asked by different routes', async () => {
    const panel = createPanel()
    expect((await panel.call('GET', '/api/health')).json).toEqual({ ok: true })
    expect((await panel.call('GET', '/api/trpc/settings.health')).json).toEqual({ result: { data: { json: { status: 'ok' } } } })
    panel.control.setDatabase('down')
    expect(await panel.call('GET', '/api/health')).toMatchObject({ status: 200, json: { ok: true } })
    expect((await panel.call('GET', '/api/trpc/settings.health')).status).toBe(500)
  })

  test('the REST route wants a key although the procedure is open to all', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    expect(await panel.call('GET', '/api/settings.health')).toMatchObject({ status: 401, json: { message: 'Unauthorized' } })
    expect((await panel.call('GET', '/api/settings.health', { headers: key })).json).toEqual({ status: 'ok' })
  })
})

describe('the first admin', () => {
  test('the start page leads to the registration until there is one, and the registration back afterwards', async () => {
    const panel = createPanel()
    expect(await panel.call('GET', '/')).toMatchObject({ status: 307, headers: { location: '/register' } })
    expect((await panel.call('GET', '/register')).status).toBe(200)
    await panel.signUp()
    expect((await panel.call('GET', '/')).status).toBe(200)
    expect(await panel.call('GET', '/register')).toMatchObject({ status: 307, headers: { location: '/' } })
  })

  test('signing up answers with a token, the user and a session cookie for three days', async () => {
    const panel = createPanel()
    const answer = await panel.post('/api/auth/sign-up/email', ADMIN)
    expect(answer).toMatchObject({ status: 200, json: { user: { email: ADMIN.email } } })
    expect(answer.headers?.['set-cookie']).toMatch(/^better-auth\.session_token=[^;]+; Max-Age=259200;/)
  })

  test('is the only one: another address is refused, the same address differently', async () => {
    const panel = createPanel()
    await panel.signUp()
    expect(await panel.post('/api/auth/sign-up/email', { ...ADMIN, email: 'thief@example.net' })).toMatchObject({
      status: 400,
      json: { message: 'Admin is already created' },
    })
    expect(await panel.post('/api/auth/sign-up/email', ADMIN)).toMatchObject({
      status: 422,
      json: { code: 'USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL' },
    })
  })

  test.each([
    ['a short password', { ...ADMIN, password: 'seven77' }, 400, 'PASSWORD_TOO_SHORT'],
    ['no name', { email: ADMIN.email, password: ADMIN.password }, 400, 'VALIDATION_ERROR'],
    ['an address that is none', { ...ADMIN, email: 'admin' }, 400, 'INVALID_EMAIL'],
  ])('%s is refused and makes nobody', async (_what, body, status, code) => {
    const panel = createPanel()
    expect(await panel.post('/api/auth/sign-up/email', body)).toMatchObject({ status, json: { code } })
    expect((await panel.call('GET', '/')).status).toBe(307)
  })

  test('signs in with the password alone', async () => {
    const panel = createPanel()
    await panel.signUp()
    expect(await panel.post('/api/auth/sign-in/email', { email: ADMIN.email, password: 'wrong password' })).toMatchObject({
      status: 401,
      json: { code: 'INVALID_EMAIL_OR_PASSWORD' },
    })
    expect(await panel.post('/api/auth/sign-in/email', ADMIN)).toMatchObject({ status: 200, json: { redirect: false } })
  })

  test('a cookie on an auth route needs an Origin that is trusted', async () => {
    const panel = createPanel()
    const cookie = await panel.signUp()
    const signIn = (headers: Record<string, string>) => panel.post('/api/auth/sign-in/email', ADMIN, { cookie, ...headers })
    expect(await signIn({})).toMatchObject({ status: 403, json: { code: 'MISSING_OR_NULL_ORIGIN' } })
    expect(await signIn({ origin: 'https://evil.example.net' })).toMatchObject({ status: 403, json: { code: 'INVALID_ORIGIN' } })
    panel.advance(60_000)
    expect((await signIn({ origin: 'http://203.0.113.10:3000' })).status).toBe(200)
  })

  test('the fourth attempt within ten seconds is one too many, right or wrong', async () => {
    const panel = createPanel()
    await panel.signUp()
    const signIn = () => panel.post('/api/auth/sign-in/email', ADMIN)
    expect([(await signIn()).status, (await signIn()).status, (await signIn()).status]).toEqual([200, 200, 200])
    expect(await signIn()).toMatchObject({ status: 429, headers: { 'x-retry-after': '10' } })
    panel.advance(10_001)
    expect((await signIn()).status).toBe(200)
  })

  test('a session ends after three days', async () => {
    const panel = createPanel()
    const cookie = await panel.signUp()
    expect(await panel.call('GET', '/api/user.get', { headers: { cookie } })).toMatchObject({
      status: 200,
      json: { role: 'owner' },
    })
    panel.advance(3 * 86_400_000)
    expect((await panel.call('GET', '/api/user.get', { headers: { cookie } })).status).toBe(401)
  })
})

describe('API keys', () => {
  const version = (panel: ReturnType<typeof createPanel>, headers: Record<string, string>) =>
    panel.call('GET', '/api/settings.getDokployVersion', { headers })

  test('x-api-key is the only header that counts', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    expect(await version(panel, key)).toMatchObject({ status: 200, json: 'v0.30.2' })
    expect(await version(panel, { authorization: `Bearer ${key['x-api-key']}` })).toMatchObject({
      status: 401,
      json: { message: 'Unauthorized' },
    })
    expect((await version(panel, { 'x-api-key': 'wrong' })).status).toBe(401)
  })

  test('a key made without a word about limits dies at the sixth call of a day, as if it were wrong', async () => {
    const panel = createPanel()
    const key = await panel.claim({})
    for (let call = 1; call <= 5; call++) expect((await version(panel, key)).status).toBe(200)
    expect(await version(panel, key)).toMatchObject({ status: 401, json: { message: 'Unauthorized' } })
    panel.advance(86_400_001)
    expect((await version(panel, key)).status).toBe(200)
  })

  test('a key made with rateLimitEnabled false goes on', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    for (let call = 1; call <= 20; call++) expect((await version(panel, key)).status).toBe(200)
  })

  test('are listed by user.get, never again with their value, and end when deleted', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    const me = (await panel.call('GET', '/api/user.get', { headers: key })).json as {
      user: { apiKeys: { id: string; name: string }[] }
    }
    expect(me.user.apiKeys).toMatchObject([{ name: 'landfall', enabled: true, expiresAt: null }])
    expect(JSON.stringify(me)).not.toContain(key['x-api-key'])
    const apiKeyId = me.user.apiKeys[0]?.id
    expect(await panel.post('/api/user.deleteApiKey', { apiKeyId: 'other' }, key)).toMatchObject({
      status: 404,
      json: { code: 'NOT_FOUND' },
    })
    expect(await panel.post('/api/user.deleteApiKey', { apiKeyId }, key)).toMatchObject({ status: 200, json: true })
    expect((await version(panel, key)).status).toBe(401)
  })

  test('need a name of 1 to 32 characters and an organization of the caller', async () => {
    const panel = createPanel()
    const cookie = await panel.signUp()
    expect(await panel.post('/api/user.createApiKey', { name: 'x'.repeat(33) }, { cookie })).toMatchObject({
      status: 400,
      json: {
        code: 'BAD_REQUEST',
        data: {
          path: 'user.createApiKey',
          zodError: { fieldErrors: { name: [expect.any(String)], metadata: [expect.any(String)] } },
        },
        issues: [{ path: ['name'] }, { path: ['metadata'] }],
      },
    })
    expect(
      await panel.post('/api/user.createApiKey', { name: 'k', metadata: { organizationId: 'somebody' } }, { cookie }),
    ).toMatchObject({ status: 403, json: { data: { code: 'FORBIDDEN', httpStatus: 403 } } })
  })
})

describe('wire rules', () => {
  test('a POST without a JSON content type is 415, with one its body may be empty', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    expect(await panel.call('POST', '/api/settings.reloadTraefik', { headers: key })).toMatchObject({
      status: 415,
      json: { data: { code: 'UNSUPPORTED_MEDIA_TYPE' } },
    })
    expect(await panel.call('POST', '/api/settings.reloadTraefik', { headers: { ...key, ...JSON_TYPE } })).toMatchObject({
      status: 200,
      json: true,
    })
  })

  test('an unknown route is 404 with a key and 401 without, and so is the other method', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    expect(await panel.call('GET', '/api/nothing.here', { headers: key })).toMatchObject({
      status: 404,
      json: { message: 'Not found', code: 'NOT_FOUND' },
    })
    expect((await panel.call('GET', '/api/nothing.here')).status).toBe(401)
    expect((await panel.call('GET', '/api/settings.reloadTraefik', { headers: key })).status).toBe(404)
    expect((await panel.call('GET', '/api/toString', { headers: key })).status).toBe(404)
  })

  test('more than 1 MB is 413, and what is not JSON is 400', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    const big = { traefikConfig: 'x'.repeat(1_100_000) }
    expect((await panel.post('/api/settings.updateTraefikConfig', big, key)).status).toBe(413)
    expect((await panel.post('/api/settings.updateTraefikConfig', '{', key)).status).toBe(400)
  })

  test('tRPC wants its input inside superjson', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    const wrapped = await panel.post('/api/trpc/settings.updateServerIp', { json: { serverIp: '203.0.113.9' } }, key)
    expect(wrapped).toMatchObject({ status: 200, json: { result: { data: { json: { serverIp: '203.0.113.9' } } } } })
    const bare = await panel.post('/api/trpc/settings.updateServerIp', { serverIp: '203.0.113.8' }, key)
    expect(bare).toMatchObject({ status: 400, json: { error: { json: { data: { code: 'BAD_REQUEST' } } } } })
    expect((await panel.call('GET', '/api/trpc/settings.getDokployVersion')).status).toBe(401)
  })
})

describe('the panel domain', () => {
  const HOST = { host: 'panel.example.com', https: true, certificateType: 'letsencrypt', letsEncryptEmail: 'ops@example.com' }

  test('the first sign-up guesses the address, and updateServerIp corrects it', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    const read = async () => (await panel.call('GET', '/api/settings.getWebServerSettings', { headers: key })).json
    expect(await read()).toMatchObject({ serverIp: '203.0.113.10', host: null, https: false })
    await panel.post('/api/settings.updateServerIp', { serverIp: '203.0.113.11' }, key)
    expect(await read()).toMatchObject({ serverIp: '203.0.113.11' })
  })

  test('a host becomes a route at once, the e-mail counts after a Traefik reload', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    expect(await panel.post('/api/settings.assignDomainServer', HOST, key)).toMatchObject({ status: 200, json: HOST })
    const traefik = panel.control.traefik()
    expect(traefik.dynamic['dokploy.yml']).toContain('Host(`panel.example.com`)')
    expect(traefik.main).toContain('ops@example.com')
    expect(traefik.loadedMain).toContain('test@localhost.com')
    await panel.post('/api/settings.reloadTraefik', {}, key)
    expect(panel.control.traefik().loadedMain).toContain('ops@example.com')
  })

  test('without the letsencrypt resolver it fails after it has saved the host', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    await panel.post('/api/settings.updateTraefikConfig', { traefikConfig: 'entryPoints: {}\n' }, key)
    expect(await panel.post('/api/settings.assignDomainServer', HOST, key)).toMatchObject({
      status: 500,
      json: { code: 'INTERNAL_SERVER_ERROR' },
    })
    expect((await panel.call('GET', '/api/settings.getWebServerSettings', { headers: key })).json).toMatchObject({
      host: 'panel.example.com',
    })
  })

  test('an unknown certificate type and a wrong address are refused with the name of the field', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    const wrong = { ...HOST, certificateType: 'selfsigned', letsEncryptEmail: 'ops' }
    expect(await panel.post('/api/settings.assignDomainServer', wrong, key)).toMatchObject({
      status: 400,
      json: {
        data: { zodError: { fieldErrors: { certificateType: [expect.any(String)], letsEncryptEmail: [expect.any(String)] } } },
      },
    })
    expect(panel.control.traefik().dynamic['dokploy.yml']).not.toContain('panel.example.com')
  })
})

test('everything is in the store: a new instance over the same one knows the admin and the key', async () => {
  const store = openStore(':memory:')
  const key = await createPanel(store).claim()
  const again = createPanel(store)
  expect((await again.call('GET', '/')).status).toBe(200)
  expect((await again.call('GET', '/api/settings.getDokployVersion', { headers: key })).status).toBe(200)
  again.control.reset()
  expect((await again.call('GET', '/')).status).toBe(307)
  expect((await again.call('GET', '/api/settings.getDokployVersion', { headers: key })).status).toBe(401)
})
