import { afterAll, expect, test } from 'bun:test'
import { createHmac } from 'node:crypto'
import { closePlaces } from '../scripts/run.ts'
import { openScene, REPOSITORY, type Scene, sha } from './rig.ts'

afterAll(closePlaces)

const LIMIT = 180_000
const SECRET = 'a webhook secret of more than sixteen characters'

const upOn = (scene: Scene): number[] =>
  Object.entries(scene.sandbox.controls.machines.previews('previews').previews)
    .filter(([, each]) => each.state === 'up')
    .map(([number]) => Number(number))

/** What the rules say, counted from GitHub's own truth. */
const eligible = ({ github }: Scene): number[] =>
  github
    .pulls(REPOSITORY)
    .filter(pull => pull.state === 'open' && !pull.draft)
    .map(pull => pull.number)
    .sort((a, b) => a - b)

test(
  'the operator destroys one, which stays down through events, and brings it back',
  async () => {
    const scene = await openScene('shared')
    scene.github.setPull(REPOSITORY, 12)
    expect((await scene.run('preview deploy --yes --json', { timeoutMs: 60_000 })).code).toBe(0)
    const plan = await scene.run('preview destroy 12 --plan --json')
    expect(plan.code).toBe(2)
    expect(upOn(scene)).toEqual([12])
    expect((await scene.run('preview destroy 12 --yes --json')).code).toBe(0)
    expect(upOn(scene)).toEqual([])
    expect((await scene.run('preview destroy 12 --yes --json')).summary()).toMatchObject({ changes: 0 })
    scene.github.setPull(REPOSITORY, 12, { sha: sha('pushed') })
    await scene.run('preview event --json')
    expect(upOn(scene)).toEqual([])
    const list = await scene.run('preview list --json')
    expect(list.lines()[0]).toMatchObject({ previews: [{ number: 12, standing: 'stopped', state: 'none' }] })
    expect((await scene.run('preview deploy #12 --yes --json')).code).toBe(0)
    expect(upOn(scene)).toEqual([12])
    expect((await scene.run('preview deploy 12 --yes --json')).summary()).toMatchObject({ changes: 0 })
    expect((await scene.run('preview logs 12')).stdout).toContain(sha('pushed').slice(0, 7))
  },
  LIMIT,
)

test(
  'the walls follow the network that the estate gets later',
  async () => {
    const scene = await openScene('shared')
    const config = JSON.parse(await Bun.file(`${scene.cwd}/config.json`).text())
    const walls = () => scene.sandbox.controls.machines.previews('previews').walls
    const event = () => scene.run('preview event --json', { timeoutMs: 60_000 })
    scene.writeConfig({ ...config, network: undefined })
    scene.github.setPull(REPOSITORY, 12)
    expect((await event()).code).toBe(0)
    expect(walls()).toEqual(['169.254.169.254/32'])
    scene.writeConfig(config)
    expect((await scene.run('provision apply --yes --json', { timeoutMs: 60_000 })).code).toBe(0)
    expect((await event()).code).toBe(0)
    expect(walls()).toEqual(['169.254.169.254/32', '172.16.0.0/16'])
    expect(upOn(scene)).toEqual([12])
    expect((await event()).summary()).toMatchObject({ changes: 0 })
  },
  LIMIT,
)

test(
  'mistakes are told with the next command, and change nothing',
  async () => {
    const scene = await openScene('shared')
    for (const [command, code, says] of [
      ['preview destroy --yes', 64, 'destroy needs the number of a pull request'],
      ['preview redeploy twelve --yes', 64, '"twelve" is not the number of a pull request'],
      ['preview deploy 99 --yes', 64, 'example/web has no pull request 99'],
      ['preview logs 99', 1, 'There is no preview of pull request 99'],
      ['preview depoly', 64, 'Did you mean deploy?'],
      ['preview serve', 1, 'PREVIEW_WEBHOOK_SECRET is not set'],
    ] as const) {
      const ended = await scene.run(command)
      expect({ command, code: ended.code, output: ended.output }).toEqual({
        command,
        code,
        output: expect.stringContaining(says),
      })
    }
    const bare = await scene.run('preview list', { env: { GITHUB_TOKEN: undefined } })
    expect(bare.output).toContain('GITHUB_TOKEN is not set')
    expect(scene.servers()).toEqual([])
  },
  LIMIT,
)

test(
  'a plan over the monthly cap is refused before the first write',
  async () => {
    const scene = await openScene('servers')
    const config = JSON.parse(await Bun.file(`${scene.cwd}/config.json`).text())
    scene.writeConfig({ ...config, cost: { monthly_cap: 12 } })
    // The host and one preview: 6.49 + 0.50 + 3.99 + 0.50 = 11.48. A second one makes 15.97.
    scene.github.setPull(REPOSITORY, 1)
    expect((await scene.run('preview event --json', { timeoutMs: 60_000 })).code).toBe(0)
    scene.github.setPull(REPOSITORY, 2)
    const before = scene.sandbox.requests().length
    const refused = await scene.run('preview event --json')
    expect(refused.code).toBe(3)
    expect(refused.output).toContain('the estate costs 15.97 a month net; config.json caps it at 12.00')
    expect(scene.writes(before)).toEqual([])

    // What nobody wants any more goes nevertheless: it is what the cap lacks.
    expect([...scene.servers()].sort()).toEqual(['acme-pr-1', 'previews'])
    scene.github.setPull(REPOSITORY, 1, { state: 'closed' })
    scene.github.setPull(REPOSITORY, 3)
    const again = await scene.run('preview event --json', { timeoutMs: 60_000 })
    expect({ code: again.code, output: again.output }).toEqual({ code: 3, output: expect.stringContaining('15.97 a month net') })
    expect(scene.servers()).toEqual(['previews'])
    scene.github.setPull(REPOSITORY, 3, { draft: true })
    expect((await scene.run('preview event --json', { timeoutMs: 60_000 })).code).toBe(0)
    expect([...scene.servers()].sort()).toEqual(['acme-pr-2', 'previews'])
  },
  LIMIT,
)

for (const seed of [1, 2])
  test(
    `seed ${seed}: whatever was missed, one look makes it right`,
    async () => {
      const scene = await openScene('shared', { max: 3 })
      let state = seed * 7919
      const next = (below: number) => {
        state = (state * 1_103_515_245 + 12_345) % 2 ** 31
        return state % below
      }
      for (let round = 0; round < 3; round++) {
        for (let event = 0; event < 12; event++) {
          const number = 1 + next(6)
          const known = scene.github.pulls(REPOSITORY).some(each => each.number === number)
          const changes = [
            { state: 'closed' },
            { state: 'open' },
            { draft: true },
            { draft: false },
            { sha: sha(`${seed} ${round} ${event}`) },
          ] as const
          scene.github.setPull(REPOSITORY, number, known ? changes[next(5)] : {})
        }
        // Of all these events one arrives.
        expect((await scene.run('preview event --json', { timeoutMs: 90_000 })).code).toBe(0)
        const [wanted, up] = [eligible(scene), upOn(scene)]
        expect(up.length).toBe(Math.min(3, wanted.length))
        expect(up.filter(number => !wanted.includes(number))).toEqual([])
        for (const number of up)
          expect(scene.sandbox.controls.machines.previews('previews').previews[number]?.head).toBe(
            scene.github.pulls(REPOSITORY).find(each => each.number === number)?.sha,
          )
      }
      const swept = await scene.run('preview sweep --yes --json')
      expect(swept.summary()).toMatchObject({ changes: 0 })
    },
    LIMIT,
  )

test(
  'a signed delivery to the receiver makes it look; it ends on an interrupt',
  async () => {
    const scene = await openScene('shared')
    const running = scene.start('preview serve --port 18098 --json', {
      env: { PREVIEW_WEBHOOK_SECRET: SECRET },
      timeoutMs: 120_000,
    })
    const until = async (what: string, isSo: () => boolean) => {
      const endsAt = Date.now() + 60_000
      while (!isSo()) {
        if (Date.now() > endsAt) throw new Error(`${what} did not happen:\n${running.stdout()}${running.stderr()}`)
        await Bun.sleep(100)
      }
    }
    await until('the first look', () => running.stdout().includes('"type":"summary"'))
    scene.github.setPull(REPOSITORY, 12)
    const body = JSON.stringify({ action: 'opened', pull_request: { title: '$(reboot)' } })
    const post = (signature: string) =>
      fetch('http://127.0.0.1:18098/webhook', {
        method: 'POST',
        body,
        headers: { 'x-github-event': 'pull_request', 'x-github-delivery': 'd-1', 'x-hub-signature-256': signature },
      })
    const looks = () => running.stdout().split('"type":"summary"').length - 1
    const before = looks()
    expect((await post('sha256=00')).status).toBe(401)
    const startedMs = performance.now()
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => post(`sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`)),
    )
    expect(answers.map(each => each.status)).toEqual(Array(10).fill(202))
    // GitHub gives up after ten seconds.
    expect(performance.now() - startedMs).toBeLessThan(10_000)
    await until('the preview', () => scene.comment(12).includes('✅'))
    running.kill('SIGINT')
    const ended = await running.ended
    expect(ended.code).toBe(130)
    expect(ended.output).not.toContain(SECRET)
    // Ten deliveries: the look under way, and one more.
    expect(looks() - before).toBeLessThanOrEqual(2)
  },
  LIMIT,
)
