/** Configurations that several tests start from. */

import { hasCode, LandfallError } from '../../../lib/errors.ts'
import type { Estate } from '../../../lib/estate/estate.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'

export const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f'
export const OTHER_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/'

/** The form that infrastructure kept in one file takes: two roles, a build type, a zone. */
export const twoServers = {
  hetzner: { location: 'nbg1', server_types: { dev: 'cx23', prod: 'cx33', packer_build: 'cx23' } },
  cloudflare: { api_base_url: 'https://api.cloudflare.com/client/v4' },
  dns: { domain: 'nextnode.fr', admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
}

/** Plain servers without names and without Dokploy. */
export const fleet = {
  project: 'fleet',
  hetzner: { location: ['nbg1', 'fsn1'], image: 'debian-12' },
  network: { range: '10.0.0.0/16', subnet: '10.0.1.0/24' },
  firewalls: {
    ssh: [{ port: 22, from: ['anywhere'], why: 'SSH' }],
    web: [
      { port: '80', from: ['anywhere'] },
      { protocol: 'icmp', from: ['admin'] },
    ],
  },
  servers: { node: { type: 'cx23', count: 3 }, edge: { type: ['cax11', 'cx23'], location: 'hel1', firewalls: ['web'] } },
}

export const load = (config: unknown, adminAddresses: string[] = [], keys: { name: string; publicKey: string }[] = []): Estate =>
  resolveEstate(parseConfig(JSON.stringify(config, null, 2), 'config.json'), { adminAddresses, publicKeys: keys })

/** The mistakes that are reported for a text, as `path: sentence`, without their positions. */
export const mistakesIn = (config: unknown): string[] =>
  linesOf(typeof config === 'string' ? config : JSON.stringify(config, null, 2)).map(line =>
    line.replace(/^line \d+:\d+ {2}/, ''),
  )

/** The same with their positions. */
export const linesOf = (text: string): string[] => {
  try {
    parseConfig(text, 'config.json')
  } catch (error) {
    if (!hasCode(error, 'config')) throw error
    return error.message
      .split('\n')
      .slice(1)
      .map(line => line.trim())
  }
  return []
}

export const errorOf = (work: () => unknown): LandfallError => {
  try {
    work()
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
