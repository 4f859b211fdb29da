/** When an image is built, on what, and when it is refused. */

import { describe, expect, test } from 'bun:test'
import { LABEL_KEYS } from '../../../lib/estate/labels.ts'
import { type ImageBuildDeps, imageBuildStep } from '../../../lib/steps/image-build.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { fakeClock } from '../fake-clock.ts'
import { deps, estate, golden, lookAt, say, serverType } from './worlds.ts'

const source = { directory: '/src', content: 'abc', revision: 'f00', nixos: '26.05', dokploy: '0.30.2', untracked: [] }
const { imageBuildType: _, ...unsaid } = estate

const building = (change: Partial<ImageBuildDeps> = {}): ImageBuildDeps => ({
  ...deps,
  estate: unsaid,
  clock: fakeClock({ startMs: Date.UTC(2026, 10, 20) }),
  packer: { build: () => Promise.reject(new Error('a look built an image')) },
  removeServer: () => Promise.reject(new Error('a look removed a server')),
  manifest: '/manifest.json',
  variables: {},
  source,
  ...change,
})
const looked = (world: Partial<EstateWorld> = {}, change: Partial<ImageBuildDeps> = {}): string =>
  say(lookAt(imageBuildStep(building(change)), { images: [], ...world }))

const made = (content: string, status: 'available' | 'creating' | 'unavailable' = 'available') =>
  golden({ status, labels: { [LABEL_KEYS.image]: 'nixos-dokploy', [LABEL_KEYS.content]: content } })
const types = (small: number, large: number) => [serverType('cx23', { diskGb: small }), serverType('cx33', { diskGb: large })]

describe('an image', () => {
  test('of the present sources is enough, one of others is not', () => {
    expect(looked({ images: [made('abc')] })).toBe('done built (2026-01-01)')
    expect(looked({ images: [made('abd')] })).toContain('build image nixos-dokploy-20261120')
    expect(looked({ images: [made('abc', 'unavailable')] })).toContain('build image nixos-dokploy-20261120')
    expect(looked({ images: [made('abc', 'creating')] })).toContain('wait until the snapshot "built" is finished')
  })

  test('is built on the wanted type with the smallest disk, whichever that is', () => {
    expect(looked({ serverTypes: types(40, 80) })).toContain('on a temporary cx23 in nbg1')
    expect(looked({ serverTypes: types(80, 40) })).toContain('on a temporary cx33 in nbg1')
  })

  test('is built on the type that the config names, unless a server that shall run it has a smaller disk', () => {
    const named = { estate: { ...unsaid, imageBuildType: 'cx33' } }
    expect(looked({ serverTypes: types(80, 80) }, named)).toContain('on a temporary cx33 in nbg1')
    expect(looked({ serverTypes: types(40, 80) }, named)).toMatch(
      /^refused An image built on cx33 needs a disk of 80 GB, which dev-dokploy would not have\./,
    )
  })

  test('is not begun where its type cannot be had', () => {
    expect(looked({ serverTypes: [serverType('cx23', { offers: [] }), serverType('cx33')] })).toMatch(/^refused .*cx23/)
    expect(looked({ serverTypes: [] })).toMatch(/^refused There is no server type to build the image on\./)
  })

  test('is not begun with files that Nix would leave out', () => {
    expect(looked({}, { source: { ...source, untracked: ['nixos/more.nix'] } })).toMatch(
      /^refused Git does not know nixos\/more\.nix, and from a repository Nix builds only what Git knows\./,
    )
  })
})
