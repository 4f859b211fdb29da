import { describe, expect, test } from 'bun:test'
import type { PullRequests } from '../../../lib/providers/ports/github.ts'
import { previewHostStep } from '../../../lib/steps/preview.ts'
import { parsePreviews } from '../../../lib/steps/preview-world.ts'
import { load } from '../estate/configs.ts'
import { deps, lookAt, ready, say } from '../steps/worlds.ts'

const METADATA = '169.254.169.254/32'
const NETWORK = '172.16.0.0/16'

const stepOn = (name: string, substrate: 'shared' | 'servers', network?: object) => {
  const estate = load({
    project: 'acme',
    hetzner: { location: 'nbg1', image: 'ubuntu-24.04' },
    dns: { domain: 'example.com' },
    ...(network ? { network } : {}),
    servers: { previews: { type: 'cx33' } },
    previews: { repository: 'example/web', host: 'previews', substrate },
  })
  if (!estate.previews) throw new Error('no previews')
  return previewHostStep(
    {
      ...deps,
      estate,
      spec: estate.previews,
      github: {} as PullRequests,
      words: {},
      variables: {},
      cloneBase: 'https://github.com',
      alone: work => work(),
    },
    name,
  )
}

const walled = (...walls: string[]) => ({ state: 'ready', walls, caddyfile: 'none', runs: [] }) as const
const PREPARE = 'todo change prepare previews for previews: walls around containers, Docker, Compose, git'

describe('a machine runs previews only within the walls that it shall have', () => {
  test.each([
    ['Docker, and no wall', 'shared', NETWORK, walled(), PREPARE],
    ['the network came later', 'shared', NETWORK, walled(METADATA), PREPARE],
    ['another network', 'shared', NETWORK, walled(METADATA, '10.9.0.0/16'), PREPARE],
    ['both', 'shared', NETWORK, walled(NETWORK, METADATA), 'done 0 there'],
    ['no network', 'shared', undefined, walled(METADATA), 'done 0 there'],
    ['an edge alone reaches the network', 'servers', NETWORK, walled(METADATA), 'done 0 there'],
    ['it ran previews itself before', 'servers', NETWORK, walled(METADATA, NETWORK), PREPARE],
    ['no Docker', 'shared', NETWORK, { state: 'bare' }, PREPARE],
  ] as const)('%s', (_, substrate, range, state, says) => {
    const step = stepOn('previews', substrate, range === undefined ? undefined : { range })
    expect(say(lookAt(step, { previews: { previews: state } }))).toBe(says)
    expect(say(lookAt(step, { previews: { previews: state }, machines: { previews: ready } }))).toBe(says)
  })

  test('a server of one pull request is kept from the network', () => {
    const step = stepOn('acme-pr-12', 'servers', {})
    expect(say(lookAt(step, { previews: { 'acme-pr-12': walled(METADATA) } }))).toStartWith('todo change prepare acme-pr-12')
    expect(say(lookAt(step, { previews: { 'acme-pr-12': walled(METADATA, NETWORK) } }))).toBe('done 0 there')
  })

  test('what is not known waits for the machine', () => {
    const step = stepOn('previews', 'shared', {})
    const unknown = { state: 'unknown', why: 'previews is not set up yet' } as const
    expect(say(lookAt(step, { previews: { previews: unknown } }))).toStartWith('blocked machine previews | change prepare')
    expect(say(lookAt(step, { previews: {} }))).toStartWith('blocked machine previews | change prepare')
  })
})

test('a machine that says nothing of walls has none', () => {
  expect(parsePreviews('docker=ready\ncaddyfile=none\n')).toEqual(walled())
  expect(parsePreviews(`docker=ready\nwalls= ${METADATA} ${NETWORK}\ncaddyfile=none\n`)).toEqual(walled(METADATA, NETWORK))
})
