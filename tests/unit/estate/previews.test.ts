import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'
import { previewServerSpec } from '../../../lib/estate/previews.ts'
import { mistakesIn } from './configs.ts'

const config = (server: object, hetzner: object = {}) => ({
  project: 'acme',
  hetzner: { location: 'nbg1', ...hetzner },
  dns: { domain: 'example.com' },
  servers: { previews: { type: 'cx33', ...server } },
  previews: { repository: 'example/web', host: 'previews' },
})

describe('previews stand on a stock system with Compose v2', () => {
  const golden =
    'previews.host: names previews, which is made from the golden image, whose Dokploy holds ports 80 and 443: set servers.previews.image to "ubuntu-24.04"'
  test.each([
    ['the default', config({}), [golden]],
    ['the default said', config({}, { image: 'golden' }), [golden]],
    ['said of the server', config({ image: 'golden' }, { image: 'debian-13' }), [golden]],
    [
      'NixOS installed over it',
      config({ os: 'nixos' }),
      [
        'previews.host: names previews, which has NixOS, whose firewall and units no program changes: set servers.previews.image to "ubuntu-24.04" and leave out os',
      ],
    ],
    [
      'a Debian of before',
      config({ image: 'debian-12' }),
      [
        'previews.host: names previews, which has debian-12, whose packages have no Compose v2: set servers.previews.image to "ubuntu-24.04"',
      ],
    ],
    [
      'the default of droplets',
      {
        ...config({ type: 's-1vcpu-2gb' }),
        hetzner: undefined,
        digitalocean: { region: 'fra1' },
      },
      [
        'previews.host: names previews, which has debian-12-x64, whose packages have no Compose v2: set servers.previews.image to "ubuntu-24-04-x64"',
      ],
    ],
    ['Ubuntu 24.04', config({ image: 'ubuntu-24.04' }), []],
    ['Debian 13', config({}, { image: 'debian-13' }), []],
    ['one that comes later', config({ image: 'debian-130' }), []],
  ] as const)('%s', (_, given, mistakes) => expect(mistakesIn(given)).toEqual([...mistakes]))

  test.each([
    [
      'a machine of the cluster',
      { ...config({ image: 'debian-13' }), network: {}, cluster: { servers: 'previews' } },
      'previews.host: must not be a machine of the cluster: ports 80 and 443 are taken there',
    ],
    [
      'a worker of a swarm',
      {
        ...config({}),
        network: {},
        dokploy: { admin_email: 'admin@example.com' },
        previews: { repository: 'example/web', host: 'previews' },
        servers: {
          panel: { type: 'cx33', dokploy: true, image: 'debian-13' },
          previews: { type: 'cx33', image: 'debian-13', joins: 'panel' },
        },
      },
      'previews.host: must not be a worker of panel, whose containers the code of pull requests would run beside',
    ],
  ])('and not %s', (_, given, mistake) => expect(mistakesIn(given)).toContain(mistake))

  test.each(['previews.json', 'nomad-previews.json'])('%s does', name => {
    const text = readFileSync(new URL(`../../../examples/${name}`, import.meta.url), 'utf8')
    const estate = resolveEstate(parseConfig(text, name), { adminAddresses: [], publicKeys: [] })
    if (!estate.previews) throw new Error('no previews')
    expect(previewServerSpec(estate, estate.previews, 12).image).toEqual({ kind: 'system', name: 'ubuntu-24.04' })
  })
})
