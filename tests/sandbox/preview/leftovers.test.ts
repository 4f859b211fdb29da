/** Previews where config.json no longer has them: billed or running strangers' code, so they are told, and go. */

import { afterAll, expect, test } from 'bun:test'
import { closePlaces } from '../scripts/run.ts'
import { estateOf, openScene, REPOSITORY, type Scene } from './rig.ts'

afterAll(closePlaces)

const LIMIT = 120_000
const EVENT = 'preview event --json'
const open = async (substrate: 'shared' | 'servers'): Promise<Scene> => {
  const scene = await openScene(substrate)
  for (const number of [12, 13]) scene.github.setPull(REPOSITORY, number)
  expect((await scene.run(EVENT, { timeoutMs: 60_000 })).code).toBe(0)
  return scene
}
const unownedIn = async (scene: Scene): Promise<readonly string[]> => {
  const told = (await scene.run('cost --json')).lines().map(line => line.cost as { unowned: { name: string }[] } | undefined)
  return told.flatMap(cost => cost?.unowned.map(each => each.name) ?? []).sort()
}
const onHost = ({ sandbox }: Scene): string[] => Object.keys(sandbox.controls.machines.previews('previews').previews)
const deploys = (requests: readonly string[]) => requests.filter(each => /(POST|DELETE) \/servers(\/\d+)?$/.test(each))

test(
  'on servers of their own, when they share one now: the bill names them, they are listed, and a sweep deletes them first',
  async () => {
    const scene = await open('servers')
    expect(await unownedIn(scene)).toEqual([])
    scene.writeConfig(estateOf('shared'))
    scene.github.setPull(REPOSITORY, 13, { state: 'closed' })
    expect(await unownedIn(scene)).toEqual(['server acme-pr-12', 'server acme-pr-13'])
    const list = await scene.run('preview list --json')
    expect(list.lines()[0]).toMatchObject({
      previews: [
        { number: 12, state: 'up' },
        { number: 13, standing: 'closed', state: 'up' },
      ],
    })
    const plan = await scene.run('preview sweep --plan')
    expect(plan.stdout).toContain('destroy preview 12 (previews share previews now)')
    // Two servers of 3.99 with addresses of 0.50.
    expect(plan.stdout).toContain('frees 8.98 EUR a month net')
    const swept = await scene.run('preview sweep --yes --json', { timeoutMs: 60_000 })
    expect({ code: swept.code, output: swept.output }).toEqual({ code: 0, output: expect.any(String) })
    expect(scene.servers()).toEqual(['previews'])
    expect(onHost(scene)).toEqual(['12'])
    expect((await scene.visit('pr-12.preview.example.com')).status).toBe(200)
    expect(await unownedIn(scene)).toEqual([])
    expect((await scene.run(EVENT)).summary()).toMatchObject({ ok: true, changes: 0 })
  },
  LIMIT,
)

test(
  'on the host, when they have servers of their own now',
  async () => {
    const scene = await open('shared')
    scene.writeConfig(estateOf('servers'))
    scene.github.setPull(REPOSITORY, 13, { draft: true })
    expect((await scene.run(EVENT, { timeoutMs: 60_000 })).code).toBe(0)
    expect(onHost(scene)).toEqual([])
    expect(scene.servers()).toEqual(['acme-pr-12', 'previews'])
    expect((await scene.visit('pr-12.preview.example.com')).status).toBe(200)
    expect((await scene.run(EVENT)).summary()).toMatchObject({ ok: true, changes: 0 })
  },
  LIMIT,
)

test(
  'on servers of their own, when config.json describes no previews any more: the bill names them, and provision deletes them',
  async () => {
    const scene = await open('servers')
    const { previews: _, ...config } = estateOf('servers')
    scene.writeConfig(config)
    expect(await unownedIn(scene)).toEqual(['server acme-pr-12', 'server acme-pr-13'])
    const refused = await scene.run('preview sweep --yes')
    expect(refused.code).toBe(64)
    expect(refused.output).toContain('bun scripts/provision.ts apply')
    const before = scene.sandbox.requests().length
    expect((await scene.run('provision apply --yes --confirm acme --json', { timeoutMs: 60_000 })).code).toBe(0)
    expect(scene.servers()).toEqual(['previews'])
    expect(deploys(scene.writes(before)).length).toBe(2)
    expect(await unownedIn(scene)).toEqual([])
    expect((await scene.run('provision apply --yes --json')).summary()).toMatchObject({ ok: true, changes: 0 })
  },
  LIMIT,
)

test(
  'a monthly cap that has no room for both places lets them move: what is left goes first',
  async () => {
    const scene = await open('servers')
    // The host with its address is 6.99; one preview more, 4.49.
    scene.writeConfig({ ...estateOf('shared'), cost: { monthly_cap: 7 } })
    const swept = await scene.run(EVENT, { timeoutMs: 60_000 })
    expect({ code: swept.code, servers: scene.servers() }).toEqual({ code: 0, servers: ['previews'] })
    expect(onHost(scene).sort()).toEqual(['12', '13'])
  },
  LIMIT,
)
