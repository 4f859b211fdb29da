/** The workflows that are written into an estate's repository: valid for actionlint, careful with rights and secrets, written once. */

import { afterAll, describe, expect, test } from 'bun:test'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces, openPlace, type Place, ROOT, TWO_SERVERS } from '../sandbox/scripts/run.ts'

afterAll(closePlaces)

const VERSION = '1.7.12'

/** On the PATH, or where CI installs it: `go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12`. */
const actionlint = process.env.LANDFALL_ACTIONLINT ?? Bun.which('actionlint')
if (!actionlint) {
  if (process.env.CI)
    throw new Error(`install actionlint ${VERSION} (go install github.com/rhysd/actionlint/cmd/actionlint@v${VERSION})`)
  test.skip('the workflows against actionlint (skipped: it is not installed)', () => undefined)
}

const NIXOS = JSON.parse(readFileSync(join(ROOT, 'examples/nixos-anywhere.json'), 'utf8')) as Readonly<Record<string, unknown>>
const WITH_VARIABLES = { ...NIXOS, service: { ...(NIXOS.service as object), env_file: '.env.backend' } }
const IMAGE = '.github/workflows/infra-image.yml'
const PROVISION = '.github/workflows/infra-provision.yml'
const SWEEP = '.github/workflows/infra-sweep.yml'
const RENEW = '.github/workflows/infra-renew.yml'
const CLUSTER = JSON.parse(readFileSync(join(ROOT, 'examples/nomad-previews.json'), 'utf8')) as Readonly<Record<string, unknown>>

const written = async (config: unknown): Promise<Place> => {
  const place = await openPlace(config)
  const ended = await place.run('workflow --yes --json')
  expect({ code: ended.code, errors: ended.errors() }).toEqual({ code: 0, errors: [] })
  return place
}
const read = (place: Place, path: string): string => readFileSync(join(place.cwd, path), 'utf8')

interface Step {
  readonly name?: string
  readonly uses?: string
  readonly run?: string
  readonly env?: Readonly<Record<string, string>>
}
interface Workflow {
  readonly on: Readonly<Record<string, unknown>>
  readonly permissions: unknown
  readonly concurrency: { readonly group: string; readonly 'cancel-in-progress': boolean }
  readonly jobs: Readonly<Record<string, { readonly 'timeout-minutes': number; readonly steps: readonly Step[] }>>
}
const parse = (place: Place, path: string): Workflow => Bun.YAML.parse(read(place, path)) as Workflow
const stepsOf = (workflow: Workflow): readonly Step[] => Object.values(workflow.jobs).flatMap(job => job.steps)

describe.skipIf(!actionlint)('actionlint', () => {
  for (const [name, config, files] of [
    ['two servers from the golden image', TWO_SERVERS, [IMAGE, SWEEP, PROVISION]],
    ['a droplet with NixOS', NIXOS, [PROVISION]],
    ['a droplet with NixOS and variables', WITH_VARIABLES, [PROVISION]],
    ['a cluster', CLUSTER, [PROVISION, RENEW]],
  ] as const)
    test(`finds nothing in the workflows of ${name}`, async () => {
      const place = await written(config)
      const child = Bun.spawn([actionlint ?? '', '-no-color', '-shellcheck', Bun.which('shellcheck') ?? '', ...files], {
        cwd: place.cwd,
        stdout: 'pipe',
        stderr: 'pipe',
      })
      const [said, wrong, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
      expect({ code, said, wrong }).toEqual({ code: 0, said: '', wrong: '' })
    }, 60_000)

  test('would find a mistake', async () => {
    const place = await written(TWO_SERVERS)
    writeFileSync(join(place.cwd, PROVISION), read(place, PROVISION).replace('inputs.action ||', 'inputs.no_such_input ||'))
    const child = Bun.spawn([actionlint ?? '', '-no-color', PROVISION], { cwd: place.cwd, stdout: 'pipe', stderr: 'pipe' })
    expect({ code: await child.exited, said: await child.stdout.text() }).toMatchObject({
      code: 1,
      said: expect.stringContaining('no_such_input'),
    })
  }, 60_000)
})

describe('the workflows', () => {
  test('may only read the repository, run one at a time, and use actions pinned by commit', async () => {
    const place = await written(TWO_SERVERS)
    for (const path of [IMAGE, PROVISION]) {
      const workflow = parse(place, path)
      expect(workflow.permissions).toEqual({ contents: 'read' })
      expect(workflow.concurrency).toEqual({ group: 'landfall-example', 'cancel-in-progress': false })
      for (const { uses } of stepsOf(workflow)) if (uses !== undefined) expect(uses).toMatch(/@[0-9a-f]{40}$/)
      // What somebody types into a form never becomes part of a program.
      for (const { run } of stepsOf(workflow)) expect(run ?? '').not.toContain('${{')
    }
  }, 60_000)

  test('build on a change of what the image is made of, provision afterwards or by hand', async () => {
    const place = await written(TWO_SERVERS)
    expect(parse(place, IMAGE).on).toEqual({
      push: { branches: ['main'], paths: ['config.json', 'flake.nix', 'flake.lock', 'nixos/**', 'packer/**'] },
      workflow_dispatch: null,
    })
    const { on } = parse(place, PROVISION)
    expect(on).toMatchObject({
      workflow_run: { workflows: ['Build Infrastructure Image'], types: ['completed'] },
      workflow_dispatch: { inputs: { action: { options: ['plan', 'apply', 'destroy'], default: 'plan' } } },
    })
  }, 60_000)

  test('watch a config that was named from this directory by the path that GitHub knows', async () => {
    const place = await openPlace(TWO_SERVERS)
    expect((await place.run('workflow --yes --json --config ./config.json')).code).toBe(0)
    expect(parse(place, IMAGE).on).toMatchObject({ push: { paths: expect.arrayContaining(['config.json']) } })
    expect((await place.run('workflow --plan --json')).code).toBe(0)
  }, 60_000)

  test('are not written for a config whose name a program would carry out', async () => {
    const place = await openPlace(TWO_SERVERS)
    const name = 'config$(id).json'
    writeFileSync(join(place.cwd, name), JSON.stringify(TWO_SERVERS))
    const ended = await place.run(`workflow --yes --json --config ${name}`)
    expect(ended.code).not.toBe(0)
    expect(ended.errors()[0]?.message).toBe(`"${name}" has characters that mean something in a workflow's programs.`)
    expect(existsSync(join(place.cwd, PROVISION))).toBe(false)
  }, 60_000)

  test('sweep each day what a cut off build has left, apart from the builds and from what follows them', async () => {
    const place = await written(TWO_SERVERS)
    const workflow = parse(place, SWEEP)
    expect(workflow.on).toEqual({ schedule: [{ cron: '47 4 * * *' }], workflow_dispatch: null })
    expect(workflow.permissions).toEqual({ contents: 'read' })
    expect(workflow.concurrency).toEqual({ group: 'landfall-example-sweep', 'cancel-in-progress': false })
    const [image, sweep] = [parse(place, IMAGE), stepsOf(workflow).at(-1)]
    expect(sweep?.run).toBe('bun scripts/image.ts sweep --config config.json --hours 6 --yes --json')
    expect(Object.keys(sweep?.env ?? {})).toEqual(['HCLOUD_TOKEN'])
    for (const job of Object.values(image.jobs)) expect(job['timeout-minutes']).toBeLessThan(6 * 60)
    for (const { run } of stepsOf(image)) expect(run ?? '').not.toContain('sweep')
    expect(existsSync(join((await written(NIXOS)).cwd, SWEEP))).toBe(false)
  }, 60_000)

  test('renew the certificate of a cluster each day, with the registry’s password where machines have it', async () => {
    const registry = { url: 'ghcr.io', username: 'ci', password_env: 'REGISTRY_PASSWORD' }
    const place = await written({ ...CLUSTER, cluster: { ...(CLUSTER.cluster as object), registry } })
    const workflow = parse(place, RENEW)
    expect(workflow.on).toEqual({ schedule: [{ cron: '17 4 * * *' }], workflow_dispatch: null })
    expect(workflow.permissions).toEqual({ contents: 'read' })
    expect(workflow.concurrency).toEqual({ group: 'landfall-acme', 'cancel-in-progress': false })
    const step = stepsOf(workflow).at(-1)
    expect(step?.run).toBe('bun scripts/cluster.ts renew --config config.json --yes --json')
    expect(Object.keys(step?.env ?? {})).toEqual([
      'LANDFALL_SSH_KEY',
      'HCLOUD_TOKEN',
      'CLOUDFLARE_API_TOKEN',
      'REGISTRY_PASSWORD',
    ])
    const without = await written(TWO_SERVERS)
    expect(existsSync(join(without.cwd, RENEW))).toBe(false)
  }, 60_000)

  test('are written once; changed by somebody they are put back, and one of another hand is left alone', async () => {
    const place = await written(TWO_SERVERS)
    expect((await place.run('workflow --plan --json')).code).toBe(0)
    const before = read(place, PROVISION)
    writeFileSync(join(place.cwd, PROVISION), `${before}# edited\n`)
    expect((await place.run('workflow --plan --json')).code).toBe(2)
    expect((await place.run('workflow --yes --json')).code).toBe(0)
    expect(read(place, PROVISION)).toBe(before)
    writeFileSync(join(place.cwd, PROVISION), 'name: mine\n')
    const refused = await place.run('workflow --yes --json')
    expect({ code: refused.code, text: read(place, PROVISION) }).toEqual({ code: 3, text: 'name: mine\n' })
  }, 60_000)

  test('go when the config no longer asks for them, shown before; one of another hand stays', async () => {
    const place = await written(TWO_SERVERS)
    place.writeConfig({ ...TWO_SERVERS, hetzner: { ...TWO_SERVERS.hetzner, image: 'debian-12' } })
    const plan = await place.run('workflow --plan')
    expect({ code: plan.code, said: plan.stdout.trim().split('\n') }).toEqual({
      code: 2,
      said: [`${IMAGE}: no longer wanted`, `${SWEEP}: no longer wanted`, `${PROVISION}: outdated`],
    })
    expect([IMAGE, SWEEP].map(path => existsSync(join(place.cwd, path)))).toEqual([true, true])
    writeFileSync(join(place.cwd, SWEEP), 'name: mine\n')
    expect((await place.run('workflow --yes --json')).code).toBe(0)
    expect({ image: existsSync(join(place.cwd, IMAGE)), sweep: read(place, SWEEP) }).toEqual({
      image: false,
      sweep: 'name: mine\n',
    })
    expect(read(place, PROVISION)).not.toContain('workflow_run')
    expect((await place.run('workflow --plan --json')).code).toBe(0)
  }, 60_000)

  test('that are no longer asked for stay when somebody has changed them, and that is told', async () => {
    const place = await written(TWO_SERVERS)
    const changed = read(place, IMAGE).replace('branches: [main]', 'branches: [main, next]')
    writeFileSync(join(place.cwd, IMAGE), changed)
    place.writeConfig({ ...TWO_SERVERS, hetzner: { ...TWO_SERVERS.hetzner, image: 'debian-12' } })
    const ended = await place.run('workflow --yes --json')
    expect({ code: ended.code, image: read(place, IMAGE), sweep: existsSync(join(place.cwd, SWEEP)) }).toEqual({
      code: 0,
      image: changed,
      sweep: false,
    })
    const plan = await place.run('workflow --plan --json')
    expect(plan.code).toBe(0)
    for (const { output } of [ended, plan]) expect(output).toContain(`git rm ${IMAGE}`)
  }, 60_000)

  test('are not made for a config that no checkout would hold', async () => {
    const place = await openPlace(TWO_SERVERS)
    const ended = await place.run(`workflow --yes --json --config ${join(place.cwd, 'config.json')}`)
    expect({ code: ended.code, made: existsSync(join(place.cwd, '.github')) }).toEqual({ code: 64, made: false })
  })
})

/** The run step as GitHub runs it: `bash -e`, with stand-ins for what it calls. */
describe('the step that plans, applies or destroys', () => {
  const runStep = async (action: string, exitCode: number) => {
    const place = await written(TWO_SERVERS)
    const step = stepsOf(parse(place, PROVISION)).find(each => each.run?.includes('case $ACTION'))
    const bin = join(place.cwd, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'bun'), `#!/bin/sh\necho "$*"\nexit ${exitCode}\n`)
    chmodSync(join(bin, 'bun'), 0o755)
    const child = Bun.spawn(['bash', '-e', '-c', step?.run ?? 'exit 99'], {
      env: { PATH: `${bin}:${process.env.PATH}`, ACTION: action, CONFIRM: 'example; touch hacked' },
      cwd: place.cwd,
      stdout: 'pipe',
    })
    const [said, code] = await Promise.all([child.stdout.text(), child.exited])
    return { said: said.trim(), code, hacked: existsSync(join(place.cwd, 'hacked')) }
  }

  test('plans: changes are no failure, an error is', async () => {
    expect(await runStep('plan', 2)).toEqual({
      said: 'scripts/setup.ts --config config.json --plan --json',
      code: 0,
      hacked: false,
    })
    expect((await runStep('plan', 1)).code).toBe(1)
  }, 60_000)
  test('applies', async () => {
    expect(await runStep('apply', 0)).toEqual({
      said: 'scripts/setup.ts --config config.json --yes --json',
      code: 0,
      hacked: false,
    })
    expect((await runStep('apply', 1)).code).toBe(1)
  }, 60_000)
  test('destroys what was named, and takes the name for nothing but a name', async () => {
    expect(await runStep('destroy', 0)).toEqual({
      said: 'scripts/destroy.ts --config config.json --yes --confirm example; touch hacked --json',
      code: 0,
      hacked: false,
    })
  }, 60_000)
})

describe('the variables of a service', () => {
  const WRITE = "Write the service's variables down"
  const stepOf = (place: Place) => stepsOf(parse(place, PROVISION)).find(each => each.name === WRITE)

  test('come from a secret, into the file that config.json names, before anything reads it', async () => {
    const place = await openPlace(WITH_VARIABLES)
    mkdirSync(join(place.cwd, 'deploy'))
    place.writeConfig(WITH_VARIABLES, 'deploy/config.json')
    const ended = await place.run('workflow --yes --config ./deploy/config.json')
    expect([ended.code, ended.stdout.includes('gh secret set LANDFALL_SERVICE_ENV <deploy/.env.backend')]).toEqual([0, true])
    const names = stepsOf(parse(place, PROVISION)).flatMap(each => each.name ?? [])
    expect(names).toEqual(['Write the SSH key down', WRITE, 'Plan, apply or destroy'])
    expect(stepOf(place)?.env).toEqual({ FILE: 'deploy/.env.backend', VARIABLES: `\${{ secrets.LANDFALL_SERVICE_ENV }}` })
  }, 60_000)

  test('are no matter of an estate without them', async () => {
    const place = await openPlace(NIXOS)
    const ended = await place.run('workflow --yes --json')
    expect([ended.code, ended.output.includes('LANDFALL_SERVICE_ENV'), stepOf(place)]).toEqual([0, false, undefined])
  }, 60_000)

  /** As GitHub runs it, over a file that somebody has checked in. */
  const runStep = async (variables: string) => {
    const place = await written(WITH_VARIABLES)
    const path = join(place.cwd, '.env.backend')
    writeFileSync(path, 'OLD=1\n', { mode: 0o644 })
    const child = Bun.spawn(['bash', '-e', '-c', stepOf(place)?.run ?? 'exit 99'], {
      env: { PATH: process.env.PATH, FILE: '.env.backend', VARIABLES: variables },
      cwd: place.cwd,
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [said, wrong, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
    return { said: said.trim().split('\n'), wrong, code, text: readFileSync(path, 'utf8'), mode: statSync(path).mode & 0o777 }
  }

  test('are kept for their owner alone, and only masks are said', async () => {
    const { said, wrong, code, text, mode } = await runStep('# made by hand\r\nPORT=8080\r\nTOKEN="100%-secret=yes"\r\n')
    expect({ code, wrong, mode, text }).toEqual({
      code: 0,
      wrong: '',
      mode: 0o600,
      text: '# made by hand\nPORT=8080\nTOKEN="100%-secret=yes"\n\n',
    })
    expect(said).toEqual(['::add-mask::PORT=8080', '::add-mask::TOKEN="100%25-secret=yes"', '::add-mask::100%25-secret=yes'])
  }, 60_000)

  test('that are in no secret end the run, which would take them from the service', async () => {
    const { code, wrong, text } = await runStep('')
    expect([code, text]).toEqual([1, 'OLD=1\n'])
    expect(wrong).toContain('LANDFALL_SERVICE_ENV')
  }, 60_000)
})
