import { describe, expect, test } from 'bun:test'
import { dokployRoutes } from '../../lib/sandbox/dokploy/standin.ts'
import { ADMIN, createPanel } from '../sandbox/dokploy/panel.ts'
import { loadSpec } from './spec.ts'

const spec = loadSpec('dokploy.openapi.json')
// A machine without the document can't say anything; a build that claims the contract has to have it.
const cannotJudge = spec === undefined && !process.env.CI

describe.skipIf(cannotJudge)('the Dokploy stand-in against the published document', () => {
  const document = spec ?? {
    operation: () => undefined,
    validateRequest: () => ['the document dokploy.openapi.json is missing: name its folder in LANDFALL_SPECS'],
  }

  test.each(Object.entries(dokployRoutes))('%s is a documented operation of this method', (name, route) => {
    expect(document.operation(route.kind === 'query' ? 'GET' : 'POST', `/${name}`)).toBeDefined()
  })

  test('every request that a claim and a panel domain take fits the document and is accepted', async () => {
    const panel = createPanel()
    const key = await panel.claim()
    const accepted = [
      await panel.post('/api/settings.updateServerIp', { serverIp: '203.0.113.10' }, key),
      await panel.post(
        '/api/settings.assignDomainServer',
        { host: 'panel.example.com', https: true, certificateType: 'letsencrypt', letsEncryptEmail: ADMIN.email },
        key,
      ),
      await panel.post('/api/settings.assignDomainServer', { host: 'panel.example.com', certificateType: 'none' }, key),
      await panel.post('/api/settings.updateTraefikConfig', { traefikConfig: panel.control.traefik().main }, key),
      await panel.post('/api/settings.reloadTraefik', {}, key),
      await panel.call('GET', '/api/settings.readTraefikConfig', { headers: key }),
      await panel.call('GET', '/api/settings.getWebServerSettings', { headers: key }),
      await panel.post('/api/user.deleteApiKey', { apiKeyId: 'unknown' }, key),
    ]
    expect(accepted.map(answer => answer.status)).toEqual([200, 200, 200, 200, 200, 200, 200, 404])
    const rest = panel.sent.filter(({ path }) => !path.startsWith('/api/auth/'))
    expect(rest.length).toBeGreaterThan(9)
    for (const { method, path, body } of rest)
      expect(document.validateRequest(method, path.replace('/api', ''), new URLSearchParams(), body)).toEqual([])
  })

  test.each([
    ['settings.assignDomainServer', { host: 'panel.example.com' }],
    ['settings.assignDomainServer', { host: 'panel.example.com', certificateType: 'none', letsEncryptEmail: 'nobody' }],
    ['settings.assignDomainServer', { host: 'panel.example.com', certificateType: 'none', https: 'yes' }],
    ['settings.updateServerIp', {}],
    ['settings.updateTraefikConfig', { traefikConfig: '' }],
    ['user.createApiKey', { name: '', metadata: { organizationId: 'o' } }],
    ['user.createApiKey', { name: 'n'.repeat(33), metadata: { organizationId: 'o' } }],
    ['user.createApiKey', { name: 'n', metadata: {} }],
    ['user.createApiKey', { name: 'n', metadata: { organizationId: 'o' }, rateLimitEnabled: 'false' }],
    ['user.deleteApiKey', { apiKeyId: 5 }],
  ])('what the document refuses of %s, the stand-in refuses: %j', async (name, body) => {
    const panel = createPanel()
    const key = await panel.claim()
    expect(document.validateRequest('POST', `/${name}`, new URLSearchParams(), body)).not.toEqual([])
    expect((await panel.post(`/api/${name}`, body, key)).status).toBe(400)
  })
})
