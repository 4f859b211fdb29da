import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { CONFIG_KEYS } from '../../../lib/estate/keys.ts'
import { parseConfig } from '../../../lib/estate/load.ts'
import { renderConfig, renderConfigFile } from '../../../lib/estate/write.ts'
import { errorOf, fleet, KEY, load, twoServers } from './configs.ts'

describe('the config that answers make', () => {
  test('is the file a person would have written', () =>
    expect(
      JSON.parse(
        renderConfig({
          locations: ['nbg1'],
          serverTypes: { dev: 'cx23', prod: ['cx33'] },
          imageBuildType: 'cx23',
          domain: 'nextnode.fr',
          adminSubdomains: { prod: 'admin', dev: 'dev.admin' },
        }),
      ),
    ).toEqual({ hetzner: twoServers.hetzner, dns: twoServers.dns }))

  test('describes what was answered', () => {
    const text = renderConfig({
      project: 'shop',
      locations: ['nbg1', 'fsn1'],
      serverTypes: { prod: ['cx33', 'cpx32'] },
      image: 'debian-12',
      adminAddresses: ['198.51.100.7'],
      publicKeys: [KEY],
      adminEmail: 'me@example.com',
      dokployVersion: '0.30.2',
      monthlyCap: 25,
    })
    expect(text).toEndWith('}\n')
    expect(load(JSON.parse(text))).toMatchObject({
      name: 'shop',
      servers: [
        {
          name: 'prod-dokploy',
          types: ['cx33', 'cpx32'],
          locations: ['nbg1', 'fsn1'],
          image: { kind: 'system', name: 'debian-12' },
          dokploy: { adminEmail: 'me@example.com' },
        },
      ],
      adminAddresses: ['198.51.100.7/32'],
      monthlyCapNet: 25,
    })
  })

  test('wrong answers are told apart from a wrong file', () => {
    expect(
      errorOf(() => renderConfig({ locations: ['nbg1'], serverTypes: { prod: 'cx33' }, domain: 'nowhere' })).message,
    ).toContain('The new config.json has a mistake')
    expect(errorOf(() => renderConfig({ locations: [], serverTypes: {} })).code).toBe('config')
  })

  test('whatever roles and types are answered, the file says the same back', () =>
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.stringMatching(/^[a-z][a-z0-9]{2,8}$/),
          fc.uniqueArray(fc.stringMatching(/^c[a-z]{1,2}[1-9][0-9]$/), { minLength: 1, maxLength: 3 }),
          { minKeys: 1, maxKeys: 4 },
        ),
        serverTypes => {
          const text = renderConfig({ locations: ['hel1'], serverTypes, domain: 'example.com' })
          expect(renderConfigFile(parseConfig(text, 'c'))).toBe(text)
          const read = load(JSON.parse(text)).servers.map(server => [server.role, [...server.types]] as const)
          expect(Object.fromEntries(read)).toEqual(serverTypes)
        },
      ),
      { numRuns: 100 },
    ))
})

describe('the documentation of the keys', () => {
  test('every key of the examples is in it, and every entry has a type and a meaning', () => {
    const documented = new Set<string>(CONFIG_KEYS.map(key => key.path))
    for (const config of [twoServers, fleet])
      for (const [group, content] of Object.entries(config)) {
        expect(documented).toContain(group)
        if (typeof content === 'object' && !['servers', 'firewalls'].includes(group))
          for (const key of Object.keys(content))
            expect(documented).toContain(key === 'dev_admin_subdomain' ? 'dns.<role>_admin_subdomain' : `${group}.${key}`)
      }
    for (const key of CONFIG_KEYS) {
      expect(key.type).not.toBe('')
      expect(key.meaning).toEndWith('.')
    }
    expect(documented.size).toBe(CONFIG_KEYS.length)
  })
})
