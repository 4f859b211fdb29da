/** One memory for all who run previews: the repository's workflow, people at their machines; and for nobody else. */

import { afterAll, expect, test } from 'bun:test'
import { closePlaces, type Ended } from '../scripts/run.ts'
import { openScene, REPOSITORY, type Scene, sha } from './rig.ts'

afterAll(closePlaces)

const LIMIT = 120_000
const EVENT = 'preview event --json'
const TOKENS = { octocat: 'a token of octocat', guest: 'a token of guest' } as const

const open = async (): Promise<Scene & { readonly as: (who: keyof typeof TOKENS, command: string) => Promise<Ended> }> => {
  const scene = await openScene('shared')
  for (const [login, value] of Object.entries(TOKENS)) scene.github.addToken({ value, right: 'write', login })
  return {
    ...scene,
    as: (who, command) => scene.run(command, { env: { GITHUB_TOKEN: TOKENS[who] }, timeoutMs: 60_000 }),
  }
}
const upOn = ({ sandbox }: Scene): string[] => Object.keys(sandbox.controls.machines.previews('previews').previews)
const authors = ({ github }: Scene, number: number): string[] => github.comments(REPOSITORY, number).map(each => each.author)
/** Whose rights cost something of the hourly limit; what a further look finds unchanged does not. */
const rightsAsked = ({ requests }: Ended): string[] =>
  requests
    .filter(each => each.path.includes('/collaborators/') && each.status !== 304)
    .map(each => each.path.split('/').at(-2) ?? '')

test(
  'what a person decides at a machine holds for the workflow, and the other way round; in one comment',
  async () => {
    const scene = await open()
    scene.github.setPull(REPOSITORY, 12)
    expect((await scene.run(EVENT, { timeoutMs: 60_000 })).code).toBe(0)
    expect(authors(scene, 12)).toEqual(['github-actions[bot]'])
    expect((await scene.as('octocat', 'preview destroy 12 --yes --json')).code).toBe(0)
    expect(upOn(scene)).toEqual([])
    expect(scene.comment(12)).toContain('Destroyed on request')
    // A push, and the event that it brings.
    scene.github.setPull(REPOSITORY, 12, { sha: sha('pushed') })
    const event = await scene.run(EVENT)
    expect(event.code).toBe(0)
    expect(upOn(scene)).toEqual([])
    expect((await scene.as('octocat', 'preview deploy 12 --yes --json')).code).toBe(0)
    expect(upOn(scene)).toEqual(['12'])
    const settled = await scene.run(EVENT)
    expect(settled.summary()).toMatchObject({ ok: true, changes: 0 })
    expect(authors(scene, 12)).toEqual(['github-actions[bot]'])
    // The workflow asks for nobody's rights as long as only its own comment is there.
    expect([...rightsAsked(event), ...rightsAsked(settled)]).toEqual([])
    const list = await scene.as('octocat', 'preview list --json')
    expect(list.lines()[0]).toMatchObject({ previews: [{ number: 12, standing: 'wanted', state: 'up' }] })
    expect(rightsAsked(list)).toEqual(['octocat'])
  },
  LIMIT,
)

test(
  'a comment that a person’s run wrote is kept up to date by the workflow',
  async () => {
    const scene = await open()
    scene.github.setPull(REPOSITORY, 12)
    expect((await scene.as('octocat', 'preview deploy --yes --json')).code).toBe(0)
    const again = await scene.run(EVENT)
    expect(again.summary()).toMatchObject({ ok: true, changes: 0 })
    expect(rightsAsked(again)).toEqual(['octocat'])
    scene.github.setPull(REPOSITORY, 12, { draft: true })
    expect((await scene.run(EVENT)).code).toBe(0)
    expect(authors(scene, 12)).toEqual(['octocat'])
    expect(scene.github.comments(REPOSITORY, 12)[0]?.body).toContain('Drafts have no preview')
  },
  LIMIT,
)

test(
  'an approval that one of them saw is none that the other takes off',
  async () => {
    const scene = await open()
    scene.github.setPull(REPOSITORY, 20, { author: 'stranger', fork: 'stranger/web', sha: sha('a') })
    await scene.run(EVENT, { timeoutMs: 60_000 })
    scene.github.setLabel(REPOSITORY, 20, 'preview', 'octocat', 'on')
    expect((await scene.run(EVENT, { timeoutMs: 60_000 })).code).toBe(0)
    expect(upOn(scene)).toEqual(['20'])
    const swept = await scene.as('octocat', 'preview sweep --yes --json')
    expect(swept.summary()).toMatchObject({ ok: true, changes: 0 })
    expect(upOn(scene)).toEqual(['20'])
    expect(scene.github.pulls(REPOSITORY)[0]?.labels).toEqual(['preview'])
  },
  LIMIT,
)

test(
  'a stranger’s comment that looks like ours approves no commit, destroys nothing and is not edited; not with lost rights either',
  async () => {
    const scene = await open()
    const { github } = scene
    github.setPull(REPOSITORY, 12)
    github.setPull(REPOSITORY, 20, { author: 'stranger', fork: 'stranger/web', sha: sha('a') })
    await scene.run(EVENT, { timeoutMs: 60_000 })
    github.setLabel(REPOSITORY, 20, 'preview', 'octocat', 'on')
    expect((await scene.run(EVENT, { timeoutMs: 60_000 })).code).toBe(0)
    expect(upOn(scene)).toEqual(['12', '20'])
    const stop = scene.comment(12).replace('word=run', 'word=stop')
    const approve = scene.comment(20).replaceAll(sha('a'), sha('b'))
    expect([stop.includes('word=stop'), approve.includes(sha('b'))]).toEqual([true, true])
    github.addComment(REPOSITORY, 12, 'stranger', stop)
    github.addComment(REPOSITORY, 20, 'stranger', approve)
    // Somebody who could write once.
    github.setPermission(REPOSITORY, 'hubot', 'read')
    github.addComment(REPOSITORY, 20, 'hubot', approve)
    for (const run of [await scene.run(EVENT), await scene.as('octocat', 'preview sweep --yes --json')]) {
      expect(run.summary()).toMatchObject({ ok: true, changes: 0 })
      expect(
        rightsAsked(run)
          .sort()
          .filter(each => each !== 'octocat'),
      ).toEqual(['hubot', 'stranger'])
    }
    github.setPull(REPOSITORY, 20, { sha: sha('b') })
    expect((await scene.as('octocat', 'preview sweep --yes --json')).code).toBe(0)
    expect(upOn(scene)).toEqual(['12'])
    expect(github.pulls(REPOSITORY).find(each => each.number === 20)?.labels).toEqual([])
    expect(authors(scene, 20)).toEqual(['github-actions[bot]', 'stranger', 'hubot'])
    const forged = github.comments(REPOSITORY, 20).filter(each => each.author !== 'github-actions[bot]')
    expect(forged.map(each => each.body)).toEqual([approve, approve])
  },
  LIMIT,
)

test(
  'who may not edit what the workflow remembers is refused before anything is taken down',
  async () => {
    const scene = await open()
    scene.github.setPull(REPOSITORY, 12)
    expect((await scene.run(EVENT, { timeoutMs: 60_000 })).code).toBe(0)
    const before = scene.sandbox.requests().length
    const refused = await scene.as('guest', 'preview destroy 12 --yes --json')
    expect(refused.code).toBe(3)
    expect(refused.output).toContain('The comment that remembers the preview of pull request 12 is by github-actions[bot]')
    expect(refused.output).toContain('somebody with write access to example/web')
    expect(scene.writes(before)).toEqual([])
    expect(upOn(scene)).toEqual(['12'])
  },
  LIMIT,
)

test(
  'a comment that cannot be edited, or is gone since the look, is followed by a newer one, which then counts for all',
  async () => {
    const scene = await open()
    scene.github.setPull(REPOSITORY, 12)
    expect((await scene.as('octocat', 'preview deploy --yes --json')).code).toBe(0)
    scene.github.setPull(REPOSITORY, 12, { draft: true })
    for (const [status, count] of [
      [403, 2],
      [404, 3],
    ] as const) {
      const json = { message: status === 403 ? 'Resource not accessible by integration' : 'Not Found' }
      scene.sandbox.settings.faults = [
        { vendor: 'github', method: 'PATCH', path: '/issues/comments/', effect: { kind: 'status', status, json } },
      ]
      // Ids decide between what was written in one second; GitHub counts whole ones.
      expect((await scene.run(EVENT)).code).toBe(0)
      expect(authors(scene, 12).length).toBe(count)
      scene.sandbox.settings.faults = []
      expect((await scene.run(EVENT)).summary()).toMatchObject({ ok: true, changes: 0 })
      expect((await scene.as('octocat', 'preview sweep --yes --json')).summary()).toMatchObject({ ok: true, changes: 0 })
      scene.github.setPull(REPOSITORY, 12, { state: 'closed' })
    }
    expect(scene.github.comments(REPOSITORY, 12).at(-1)?.body).toContain('the pull request is closed')
  },
  LIMIT,
)
