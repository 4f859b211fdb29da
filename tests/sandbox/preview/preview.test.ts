import { afterAll, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces } from '../scripts/run.ts'
import { openScene, REPOSITORY, sha } from './rig.ts'

afterAll(closePlaces)

const LIMIT = 120_000
const MUTATING = 'preview event --json'

for (const substrate of ['shared', 'servers'] as const)
  test(
    `${substrate}: a pull request's life, over HTTPS, each command twice`,
    async () => {
      const scene = await openScene(substrate)
      const { github, sandbox } = scene
      github.setPull(REPOSITORY, 12)
      github.setPull(REPOSITORY, 13, { draft: true })
      const first = await scene.run(MUTATING, { timeoutMs: 60_000 })
      expect(first.output).not.toContain('"type":"error"')
      expect(first.code).toBe(0)
      expect(first.summary().outputs).toEqual({ pr_12_url: 'https://pr-12.preview.example.com' })
      const head = github.pulls(REPOSITORY).find(each => each.number === 12)?.sha ?? ''
      const page = await scene.visit('pr-12.preview.example.com')
      expect(page).toEqual({ status: 200, body: expect.stringContaining(head), names: 'DNS:*.preview.example.com' })
      expect((await scene.visit('pr-13.preview.example.com')).status).toBe(404)
      expect(scene.comment(12)).toContain(`✅ **Preview of ${head.slice(0, 7)}: https://pr-12.preview.example.com**`)
      expect(scene.comment(13)).toContain('Drafts have no preview')
      expect(scene.servers()).toEqual(substrate === 'shared' ? ['previews'] : ['acme-pr-12', 'previews'])

      const again = await scene.run(MUTATING)
      expect(again.summary()).toMatchObject({ ok: true, changes: 0 })
      expect(
        again.requests.filter(each => each.method !== 'GET' && each.vendor !== 'acme').map(each => `${each.method} ${each.path}`),
      ).toEqual([])

      // A push, and the draft is ready.
      github.setPull(REPOSITORY, 12, { sha: sha('second') })
      github.setPull(REPOSITORY, 13, { draft: false })
      expect((await scene.run(MUTATING, { timeoutMs: 60_000 })).code).toBe(0)
      expect((await scene.visit('pr-12.preview.example.com')).body).toContain(sha('second'))
      expect((await scene.visit('pr-13.preview.example.com')).status).toBe(200)
      expect(github.comments(REPOSITORY, 12).length).toBe(1)

      // Destroyed by command, then closed.
      github.addComment(REPOSITORY, 12, 'stranger', '/destroy')
      github.addComment(REPOSITORY, 13, 'octocat', '/destroy')
      const destroyed = await scene.run(MUTATING)
      expect(destroyed.code).toBe(0)
      expect((await scene.visit('pr-12.preview.example.com')).status).toBe(200)
      expect(scene.comment(12)).toContain('those of `stranger` were not followed')
      expect((await scene.visit('pr-13.preview.example.com')).status).toBe(404)
      expect(scene.comment(13)).toContain('Destroyed on request')
      github.setPull(REPOSITORY, 12, { state: 'closed' })
      github.setPull(REPOSITORY, 13, { state: 'closed' })
      expect((await scene.run(MUTATING)).code).toBe(0)
      expect(scene.servers()).toEqual(['previews'])
      expect(Object.keys(sandbox.controls.machines.previews('previews').previews)).toEqual([])
      expect(scene.comment(12)).toContain('Destroyed: the pull request is closed')
      expect((await scene.run(MUTATING)).summary()).toMatchObject({ changes: 0 })
    },
    LIMIT,
  )

test(
  'a fork waits for a label of somebody with write access, for the commit that was shown, and gets no variables',
  async () => {
    const scene = await openScene('shared', { variables: ['API_URL'] })
    const { github, sandbox } = scene
    const env = { PREVIEW_API_URL: 'https://staging.example.com/canary-of-previews' }
    const look = () => scene.run(MUTATING, { env, timeoutMs: 60_000 })
    const runs = () => Object.keys(sandbox.controls.machines.previews('previews').previews)
    github.setPull(REPOSITORY, 20, { author: 'stranger', fork: 'stranger/web', sha: sha('a') })
    github.setPull(REPOSITORY, 21)
    expect((await look()).code).toBe(0)
    expect(scene.comment(20)).toContain(`commit ${sha('a').slice(0, 7)} has to be approved`)
    expect(runs()).toEqual(['21'])
    // A label by somebody without write access counts for nothing.
    github.setLabel(REPOSITORY, 20, 'preview', 'stranger', 'on')
    await look()
    expect(runs()).toEqual(['21'])
    // The commit changes before the label: it is taken off, and nothing of it runs.
    github.setPull(REPOSITORY, 20, { sha: sha('b') })
    github.setLabel(REPOSITORY, 20, 'preview', 'octocat', 'on')
    expect((await look()).code).toBe(0)
    expect(runs()).toEqual(['21'])
    expect(github.pulls(REPOSITORY).find(each => each.number === 20)?.labels).toEqual([])
    expect(scene.comment(20)).toContain(`Commit ${sha('b').slice(0, 7)} came after the label`)
    // Told until there is something else to say.
    expect((await look()).summary()).toMatchObject({ ok: true, changes: 0 })
    github.setLabel(REPOSITORY, 20, 'preview', 'octocat', 'on')
    expect((await look()).code).toBe(0)
    const { previews } = sandbox.controls.machines.previews('previews')
    expect(previews['20']?.variables).toEqual([])
    expect(previews['21']?.variables).toEqual(['API_URL'])
    // A push after the label: gone until somebody has looked again.
    github.setPull(REPOSITORY, 20, { sha: sha('c') })
    await look()
    expect(runs()).toEqual(['21'])
    for (const ended of scene.history) expect(ended.output).not.toContain('canary-of-previews')
  },
  LIMIT,
)

test(
  'over the cap: queued, said, and given the next place; never more than allowed',
  async () => {
    const scene = await openScene('servers', { max: 2 })
    const { github } = scene
    for (const number of [1, 2, 3, 4]) github.setPull(REPOSITORY, number)
    const first = await scene.run(MUTATING, { timeoutMs: 60_000 })
    expect(first.code).toBe(0)
    expect(scene.servers()).toEqual(['acme-pr-1', 'acme-pr-2', 'previews'])
    expect(scene.comment(3)).toContain('Queued at place 1: all 2 previews are taken')
    expect(scene.comment(4)).toContain('Queued at place 2')
    github.setPull(REPOSITORY, 1, { state: 'closed' })
    const before = scene.sandbox.requests().length
    expect((await scene.run(MUTATING, { timeoutMs: 60_000 })).code).toBe(0)
    expect(scene.servers()).toEqual(['acme-pr-2', 'acme-pr-3', 'previews'])
    expect(scene.comment(4)).toContain('Queued at place 1')
    const servers = scene.writes(before).filter(each => /(POST|DELETE) \/servers(\/\d+)?$/.test(each))
    expect(servers.map(each => each.split(' ')[1])).toEqual(['DELETE', 'POST'])
  },
  LIMIT,
)

test(
  'what a pull request brings is judged, told in its comment, and does not keep others from being deployed',
  async () => {
    const scene = await openScene('shared')
    const { github, sandbox } = scene
    const files: Record<string, string> = {
      [sha('bad')]:
        'services:\n  web:\n    image: x\n    privileged: true\n    volumes: ["/var/run/docker.sock:/var/run/docker.sock"]\n',
      [sha('broken')]: 'services:\n  web:\n    image: x\n    command: "exit 1"\n',
    }
    sandbox.controls.machines.setRepositoryFiles((head, path) =>
      head === sha('none')
        ? undefined
        : (files[head] ?? (path === 'compose.yml' ? 'services:\n  web:\n    build: .\n' : undefined)),
    )
    github.setPull(REPOSITORY, 1, { sha: sha('bad'), title: '$(reboot) `id` ::set-output name=x::y', ref: '"; rm -rf / #' })
    github.setPull(REPOSITORY, 2, { sha: sha('broken') })
    github.setPull(REPOSITORY, 3, { sha: sha('none') })
    github.setPull(REPOSITORY, 4)
    const first = await scene.run(MUTATING, { timeoutMs: 60_000 })
    expect(first.code).toBe(0)
    expect(first.output).not.toContain('reboot')
    expect(first.output).not.toContain('rm -rf')
    expect(scene.comment(1)).toContain('service "web" asks for "privileged", which previews may not have.')
    expect(scene.comment(1)).toContain('mounts "/var/run/docker.sock:/var/run/docker.sock", which is no volume of this file.')
    expect(scene.comment(2)).toContain('could not be deployed')
    expect(scene.comment(3)).toContain('The commit has no file compose.yml.')
    expect((await scene.visit('pr-4.preview.example.com')).status).toBe(200)
    expect((await scene.visit('pr-1.preview.example.com')).status).toBe(404)
    const again = await scene.run(MUTATING)
    expect(again.summary()).toMatchObject({ ok: true, changes: 0 })
    // Asked again by somebody who may.
    github.addComment(REPOSITORY, 2, 'octocat', '/redeploy')
    expect((await scene.run(MUTATING, { timeoutMs: 60_000 })).summary().changes).toBeGreaterThan(0)
  },
  LIMIT,
)

test(
  'a certificate that was put on the host by a run that failed afterwards is taken up by the next one',
  async () => {
    const scene = await openScene('servers')
    const { github, sandbox } = scene
    for (const number of [12, 13]) github.setPull(REPOSITORY, number)
    expect((await scene.run(MUTATING, { timeoutMs: 60_000 })).code).toBe(0)
    const before = await scene.serialAt('pr-12.preview.example.com')
    // The certificate is lost on both sides, so that another one is ordered; then a preview that shall go does not.
    sandbox.controls.machines.changePreviews('previews', ({ certificate: _, key: __, ...disk }) => disk)
    rmSync(join(scene.cwd, '.landfall', 'acme', 'certificates'), { recursive: true })
    github.setPull(REPOSITORY, 13, { state: 'closed' })
    const json = { error: { code: 'forbidden', message: 'insufficient permissions for this request' } }
    sandbox.settings.faults = [
      { vendor: 'hetzner', method: 'DELETE', path: '^/servers/', effect: { kind: 'status', status: 403, json } },
    ]
    expect((await scene.run(MUTATING, { timeoutMs: 60_000 })).code).toBe(1)
    sandbox.settings.faults = []
    const { certificate = '' } = sandbox.controls.machines.previews('previews')
    const ordered = new X509Certificate(certificate).serialNumber
    expect(ordered).not.toBe(before)
    expect(await scene.serialAt('pr-12.preview.example.com')).toBe(before)
    github.setPull(REPOSITORY, 13, { state: 'open' })
    expect((await scene.run(MUTATING, { timeoutMs: 60_000 })).code).toBe(0)
    expect(await scene.serialAt('pr-12.preview.example.com')).toBe(ordered)
    expect((await scene.run(MUTATING)).summary()).toMatchObject({ ok: true, changes: 0 })
  },
  LIMIT,
)
