/** The example stack on a real Docker Engine, with two versions of Compose and a real nginx, under 200 requests a second. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSshd, type TestSshd } from '../contract/sshd.ts'
import { buildExampleImages, composeVersions, copyExample, loadBaseImage, startDocker, type TestDocker } from './docker.ts'
import { createTool, failuresOf, runningImages, type Tool, type ToolLine, tags } from './stack-kit.ts'

setDefaultTimeout(900_000)

const versions = composeVersions()
/** What no version of Compose has a part in is tested with this one alone. */
const newest = versions.at(-1)?.version
let docker: TestDocker

beforeAll(async () => {
  docker = await startDocker({ name: 'stack', subnet: '172.26' })
  loadBaseImage(docker)
  buildExampleImages(docker, new URL('../../examples/compose-rolling', import.meta.url).pathname, ['1', '2', '3', 'bad'])
})

afterAll(async () => docker?.stop())

const of = (tag: string) => [`api:${tag}`, `python-api:${tag}`, `web:${tag}`]
const message = (pattern: RegExp) => (line: ToolLine) => line.type === 'log' && pattern.test(line.message ?? '')

type KillPoint = readonly [name: string, when: (line: ToolLine) => boolean, afterMs: number]

/** Where a run is killed: the line that tells it is there, and how long after it. One point in each phase, and then the others. */
const KILL_POINTS = {
  three: [
    ['as the first one starts', message(/^api: starting/), 50],
    ['as nginx is about to be switched', message(/^nginx: switching/), 0],
    ['while requests end', message(/^waiting until requests/), 50],
  ],
  'seven more': [
    ['when the lock is held and nothing is begun', (line: ToolLine) => line.type === 'step' && line.state === 'started', 0],
    ['while the new containers are made', message(/^making new containers/), 300],
    ['while the second one is waited for', message(/^python-api: waiting/), 100],
    ['while the new ones get their names', message(/^giving the new/), 250],
    ['while nginx is switched', message(/^nginx: switching/), 250],
    ['while the old ones are stopped', message(/^stopping the old/), 50],
    ['while nginx goes back to names', message(/back to names/), 150],
  ],
} as const satisfies Record<string, readonly KillPoint[]>

for (const { version, configDirectory } of versions)
  describe(`Compose ${version}`, () => {
    let tool: Tool
    const nginxFile = () => readFileSync(join(tool.directory, 'compose-rolling/nginx/default.conf'), 'utf8')
    const original = readFileSync(new URL('../../examples/compose-rolling/nginx/default.conf', import.meta.url), 'utf8')
    const fast = { BOOT_MS: '500' }
    const phaseLeft = (): string => {
      const state = JSON.parse(readFileSync(join(tool.directory, 'state/state.json'), 'utf8')) as { rollout?: { phase: string } }
      return state.rollout?.phase ?? 'nothing'
    }
    const tagNow = () => runningImages(tool)[0]?.split(':')[1] ?? '1'
    const containerOf = (service: string) =>
      docker.docker('ps', '-q', '--no-trunc', '--filter', `label=com.docker.compose.service=${service}`).stdout.trim()
    const containersOf = (service: string) =>
      docker
        .docker('ps', '-aq', '--no-trunc', '--filter', `label=com.docker.compose.service=${service}`)
        .stdout.split('\n')
        .filter(Boolean)

    beforeAll(() => {
      tool = createTool(docker, configDirectory, copyExample(join(docker.directory, `run-${version}`)))
    })
    afterAll(() => {
      tool.compose('down', '-v', '-t', '1')
    })

    test('a first deploy starts everything, and a second one has nothing to do', async () => {
      const first = await tool.run(['deploy'], { ...tags('1'), ...fast })
      expect(`${first.stdout}${first.stderr}`).toContain('"ok":true')
      expect(runningImages(tool)).toEqual(of('1'))
      const second = await tool.run(['deploy'], { ...tags('1'), ...fast })
      expect(second.code).toBe(0)
      expect(second.lines.at(-1)).toMatchObject({
        type: 'summary',
        ok: true,
        changes: 0,
        applied: 0,
        requests: { docker: { writes: 0 } },
      })
    })

    test('a dry run shows every action, does none and writes nothing', async () => {
      const plan = await tool.run(['deploy', '--plan'], { ...tags('2'), ...fast })
      expect(plan.code).toBe(2)
      for (const action of [
        'api: start 1 new beside the old',
        'nginx: switch api, web and python-api',
        'stop and remove the old containers',
        'back to names',
      ])
        expect(plan.stdout).toContain(action)
      expect(plan.lines.at(-1)).toMatchObject({ requests: { docker: { writes: 0 } } })
      expect(runningImages(tool)).toEqual(of('1'))
    })

    test('a good deploy of the whole stack fails no request', async () => {
      let deploy: Awaited<ReturnType<Tool['run']>> | undefined
      const load = await tool.underLoad(async () => {
        deploy = await tool.run(['deploy'], { ...tags('2'), ...fast })
      })
      expect(`${deploy?.code} ${deploy?.stderr}`).toBe('0 ')
      expect(load.whys).toEqual([])
      expect(failuresOf(load)).toBe(0)
      expect(runningImages(tool)).toEqual(of('2'))
      for (const answered of ['app 1', 'app 2', 'python-api 1', 'python-api 2'])
        expect(Object.keys(load.versions)).toContain(answered)
      expect(nginxFile()).toBe(original)
    })

    test('a plain "docker compose up -d" afterwards would change nothing', () => {
      const { API_TAG = '', ...rest } = { ...tags('2'), ...fast }
      const dry = Bun.spawnSync(
        [
          'docker',
          'compose',
          '-p',
          'rolling',
          '-f',
          join(tool.directory, 'compose-rolling/compose.yml'),
          'up',
          '-d',
          '--dry-run',
        ],
        {
          env: { ...tool.environment, API_TAG, ...rest },
        },
      )
      const said = new TextDecoder().decode(dry.stderr)
      expect(dry.exitCode).toBe(0)
      expect(said).toContain('Running')
      expect(said).not.toMatch(/Recreate|Creating/)
    })

    test('a bad release fails no request, leaves the old one serving and nothing behind', async () => {
      let deploy: Awaited<ReturnType<Tool['run']>> | undefined
      const load = await tool.underLoad(async () => {
        deploy = await tool.run(['deploy'], { ...tags('3'), WEB_TAG: 'bad', ...fast, BOOT_MS: '200' })
      })
      expect(deploy?.code).toBe(1)
      expect(deploy?.stdout).toContain('the old one goes on serving')
      expect(load.whys).toEqual([])
      expect(runningImages(tool)).toEqual(of('2'))
      expect(Object.keys(load.versions).sort()).toEqual(['app 2', 'python-api 2'])
      expect(nginxFile()).toBe(original)
    })

    test('a rollback fails no request and brings the recorded images back', async () => {
      let back: Awaited<ReturnType<Tool['run']>> | undefined
      const load = await tool.underLoad(async () => {
        back = await tool.run(['rollback'])
      })
      expect(`${back?.code} ${back?.stderr}`).toBe('0 ')
      expect(load.whys).toEqual([])
      expect(runningImages(tool)).toEqual(of('1'))
      expect(nginxFile()).toBe(original)
    })

    for (const [count, points] of Object.entries(KILL_POINTS))
      test(`kill -9 at ${count} points fails no request, and each next run first ends what was begun`, async () => {
        const phases: string[] = []
        let tag = tagNow()
        let last = ''
        const load = await tool.underLoad(async () => {
          const wanted = () => ({ API_TAG: tag, PYTHON_API_TAG: tag, WEB_TAG: '1', ...fast })
          for (const [point, when, afterMs] of points) {
            // One that neither runs nor was begun last, so that there is something to do whatever the killed run left.
            const taken = [`api:${tag}`, ...runningImages(tool)]
            tag = ['1', '2', '3'].find(each => !taken.includes(`api:${each}`)) ?? ''
            let hasBegun = false
            const { sent } = await tool.kill(['deploy', 'api', 'python-api'], wanted(), line => {
              // What the run says while it ends an earlier one is not the point that is meant.
              hasBegun ||= message(/^making new/)(line) || point.endsWith('nothing is begun')
              if (!when(line) || !hasBegun) return false
              Bun.sleepSync(afterMs)
              return true
            })
            phases.push(`${point}: ${sent ? 'killed' : 'it ended before'}, left ${phaseLeft()}`)
          }
          const end = await tool.run(['deploy', 'api', 'python-api'], wanted())
          last = `${end.code} ${runningImages(tool).join(' ')}${end.code === 0 ? '' : end.stdout.slice(-1500)}`
        })
        expect(phases.filter(line => !line.includes('killed'))).toEqual([])
        expect(load.whys).toEqual([])
        expect(last).toBe(`0 api:${tag} python-api:${tag} web:1`)
        // The points lie on both sides of the switch.
        for (const phase of ['starting', 'switching', 'draining']) expect(phases.join('\n')).toContain(`left ${phase}`)
        expect(phaseLeft()).toBe('nothing')
        expect(docker.docker('ps', '-aq', '--filter', 'status=created').stdout).toBe('')
        expect(nginxFile()).toBe(original)
        expect(readdirSync(join(tool.directory, 'compose-rolling/nginx'))).toEqual(['default.conf'])
      })

    test('a change to a stateful service is refused by name, and made only when it is confirmed', async () => {
      const file = join(tool.directory, 'compose-rolling/compose.yml')
      const text = readFileSync(file, 'utf8')
      const tag = tagNow()
      writeFileSync(file, text.replace('stop_grace_period: 60s', 'stop_grace_period: 61s'))
      const refused = await tool.run(['deploy'], { ...tags(tag), ...fast })
      expect(refused.code).toBe(3)
      expect(refused.stdout).toContain('postgres has changed (its configuration differs); making it so stops postgres')
      expect(refused.stdout).toContain('api, nginx and web depend on it')
      const before = containerOf('postgres')
      const left = await tool.run(['deploy', 'api'], { ...tags(tag), ...fast })
      expect([left.code, containerOf('postgres')]).toEqual([0, before])
      const made = await tool.run(['deploy', '--confirm', 'postgres'], { ...tags(tag), ...fast })
      expect(`${made.code} ${made.stderr}`).toBe('0 ')
      expect(containerOf('postgres')).not.toBe(before)
    })

    if (version !== newest) return

    test('Ctrl-C while a new container is waited for takes everything back, also what was made and not yet started', async () => {
      const before = runningImages(tool)
      const wanted = { ...tags('bad'), BOOT_MS: '500' }
      const interrupted = await tool.kill(['deploy', 'api', 'web'], wanted, message(/^api: waiting/), 'SIGINT')
      expect(interrupted).toEqual({ sent: true, code: 130 })
      expect(runningImages(tool)).toEqual(before)
      expect(docker.docker('ps', '-aq', '--filter', 'status=created').stdout).toBe('')
      expect(nginxFile()).toBe(original)
    })

    test('status tells health as Docker sees it and as nginx serves it', async () => {
      const status = await tool.run(['status'])
      expect(status.code).toBe(0)
      const [host] = status.lines
      expect(host).toMatchObject({ type: 'log', served: [{ status: 200 }, { status: 200 }, { status: 200 }] })
      expect(JSON.stringify(host)).toContain(
        '"service":"postgres","name":"rolling-postgres-1","state":"running","health":"healthy"',
      )
    })

    test('after a reboot nginx finds every service at its new address', async () => {
      const addresses = () =>
        ['api', 'web', 'python-api'].map(service =>
          docker
            .docker('inspect', '-f', '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}', containerOf(service))
            .stdout.trim(),
        )
      const before = addresses()
      await docker.restart()
      const deadlineMs = performance.now() + 60_000
      let status = await tool.run(['status'])
      while (status.code !== 0 && performance.now() < deadlineMs) status = await tool.run(['status'])
      expect(`${status.code} ${status.code === 0 ? '' : status.stdout}`).toBe('0 ')
      expect(status.lines[0]).toMatchObject({ served: [{ status: 200 }, { status: 200 }, { status: 200 }] })
      expect(addresses()).not.toEqual(before)
    })

    test('a fault in the Compose file is refused with its line, before anything changes', async () => {
      const file = join(tool.directory, 'compose-rolling/compose.yml')
      const text = readFileSync(file, 'utf8')
      writeFileSync(file, text.replace('  web:\n', '  web:\n    container_name: web\n'))
      const refused = await tool.run(['deploy'], { ...tags('3'), ...fast })
      writeFileSync(file, text)
      expect(refused.code).toBe(3)
      expect(refused.stdout).toMatch(/compose\.yml:\d+: web has the fixed container_name \\"web\\"/)
    })

    test('prune removes what nobody needs, and nothing that a container or a recorded release has', async () => {
      docker.docker('tag', 'landfall-example/api:bad', 'landfall-example/api:unused')
      const tag = tagNow()
      expect((await tool.run(['prune', '--plan'], tags(tag))).stdout).toContain('remove image landfall-example/api:')
      const pruned = await tool.run(['prune', '--confirm', 'rolling'], tags(tag))
      expect(`${pruned.code} ${pruned.stderr}`).toBe('0 ')
      const left = docker.docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}').stdout.split('\n')
      expect(left).not.toContain('landfall-example/api:unused')
      for (const kept of runningImages(tool)) expect(left).toContain(`landfall-example/${kept}`)
      expect((await tool.run(['prune', '--plan'], tags(tag))).code).toBe(0)
      buildExampleImages(docker, new URL('../../examples/compose-rolling', import.meta.url).pathname, ['1', '2', '3', 'bad'])
    })

    test('two runs at once: the second is refused and names the first', async () => {
      const slow = tool.run(['deploy', 'api'], { API_TAG: '1', BOOT_MS: '15000' })
      await Bun.sleep(2_500)
      const second = await tool.run(['deploy', 'api'], { API_TAG: '1', BOOT_MS: '15000' })
      expect(second.code).toBe(3)
      expect(second.stdout).toContain('Another run works on stack rolling')
      expect((await slow).code).toBe(0)
    })

    /** Kills a deploy of another api in a phase. Answers with what that deploy wanted. */
    const leaveIn = async (phase: 'switching' | 'draining') => {
      const wanted = { ...tags(tagNow()), API_TAG: runningImages(tool).includes('api:2') ? '3' : '2', ...fast }
      const point = { switching: message(/^giving the new/), draining: message(/^waiting until requests/) }[phase]
      const { sent } = await tool.kill(['deploy', 'api'], wanted, line => {
        if (!point(line)) return false
        Bun.sleepSync(phase === 'switching' ? 250 : 50)
        return true
      })
      expect([sent, phaseLeft()]).toEqual([true, phase])
      return wanted
    }
    const oldApi = (wanted: { readonly API_TAG: string }) =>
      containersOf('api').filter(
        id => !docker.docker('inspect', '-f', '{{.Config.Image}}', id).stdout.includes(`:${wanted.API_TAG}`),
      )
    const expectServed = async () => {
      const status = await tool.run(['status'])
      expect(status.lines[0]).toMatchObject({ served: [{ status: 200 }, { status: 200 }, { status: 200 }] })
      expect([status.code, phaseLeft(), nginxFile()]).toEqual([0, 'nothing', original])
    }

    test('a service that nginx does not lead to is switched off and on again; one that it leads to is not', async () => {
      const [compose, config] = ['compose-rolling/compose.yml', 'compose-rolling.json'].map(path =>
        join(tool.directory, path),
      ) as [string, string]
      const before = { compose: readFileSync(compose, 'utf8'), config: readFileSync(config, 'utf8') }
      const service = (name: string) => before.compose.slice(before.compose.indexOf(`  ${name}:\n`)).split('\n\n')[0] ?? ''
      const writeWorkers = (count: number) => {
        const worker = service('python-api')
          .replace('  python-api:', '  worker:')
          .replace('deploy: {', `deploy: { replicas: ${count},`)
        writeFileSync(compose, before.compose.replace('  postgres:\n', `${worker}\n\n  postgres:\n`))
      }
      writeFileSync(config, before.config.replace('"python-api", "nginx"]', '"python-api", "worker", "nginx"]'))
      const wanted = { ...tags(tagNow()), ...fast }
      const deploy = async () => {
        const ended = await tool.run(['deploy'], wanted)
        expect(`${ended.code} ${ended.code === 0 ? '' : ended.stdout.slice(-1500)}`).toBe('0 ')
        return ended
      }
      const runs = async (count: number) => {
        writeWorkers(count)
        const ended = await deploy()
        expect(containersOf('worker')).toHaveLength(count)
        return ended
      }
      await runs(1)
      const load = await tool.underLoad(() => runs(0))
      expect(load.whys).toEqual([])
      expect((await runs(0)).lines.at(-1)).toMatchObject({ applied: 0, requests: { docker: { writes: 0 } } })
      await runs(2)
      await runs(0)

      writeFileSync(compose, before.compose.replace('  web:\n', '  web:\n    scale: 0\n'))
      writeFileSync(config, before.config)
      const refused = await tool.run(['deploy'], wanted)
      expect([refused.code, containersOf('web').length]).toEqual([3, 1])
      expect(refused.stdout).toContain('web is switched off, yet nginx leads to it')
      writeFileSync(compose, before.compose)
      await deploy()
      await expectServed()
    })

    test('a rollout that was left while the old release crashes ends with the new one', async () => {
      const [before = ''] = containersOf('api')
      docker.docker('exec', before, 'sh', '-c', 'rm /app/server.mjs && kill 1')
      const wanted = await leaveIn('switching')
      const end = await tool.run(['deploy', 'api'], wanted)
      expect(`${end.code} ${end.code === 0 ? '' : end.stdout.slice(-1500)}`).toBe('0 ')
      expect(end.stdout).toContain('finish the rollout of')
      expect(runningImages(tool)).toContain(`api:${wanted.API_TAG}`)
      expect(containersOf('api')).not.toContain(before)
      await expectServed()
    })

    test('what somebody started by hand after a rollout was left goes on without a failed request', async () => {
      await leaveIn('switching')
      const [down, up] = [tool.compose('down', '-t', '1'), tool.compose('up', '-d', '--wait')]
      expect([down.code, up.code]).toEqual([0, 0])
      const byHand = ['api', 'web', 'python-api', 'nginx'].map(containerOf)
      let end: Awaited<ReturnType<Tool['run']>> | undefined
      const load = await tool.underLoad(async () => {
        end = await tool.run(['deploy', 'api'])
      })
      expect(`${end?.code} ${end?.code === 0 ? '' : end?.stdout.slice(-1500)}`).toBe('0 ')
      expect(load.whys).toEqual([])
      expect(['api', 'web', 'python-api', 'nginx'].map(containerOf)).toEqual(byHand)
      await expectServed()
    })

    test('a rollout whose new containers are gone behind the switch goes back to the old ones, and forward again', async () => {
      const wanted = await leaveIn('draining')
      const old = oldApi(wanted)
      docker.docker('rm', '-f', ...containersOf('api').filter(id => !old.includes(id)))
      const plan = await tool.run(['deploy', 'api', '--plan'], wanted)
      expect(plan.stdout).toContain('take back the rollout of')
      const end = await tool.run(['deploy', 'api'], wanted)
      expect(`${end.code} ${end.code === 0 ? '' : end.stdout.slice(-1500)}`).toBe('0 ')
      expect(runningImages(tool)).toContain(`api:${wanted.API_TAG}`)
      expect(containersOf('api')).not.toContain(old[0])
      await expectServed()
    })

    test('a rollout that was left ends although the proxy is gone', async () => {
      const wanted = await leaveIn('draining')
      docker.docker('rm', '-f', containerOf('nginx'))
      const end = await tool.run(['deploy', 'api'], wanted)
      expect(`${end.code} ${end.code === 0 ? '' : end.stdout.slice(-1500)}`).toBe('0 ')
      expect(runningImages(tool)).toContain(`api:${wanted.API_TAG}`)
      await expectServed()
      const second = await tool.run(['deploy', 'api'], wanted)
      expect(second.lines.at(-1)).toMatchObject({ changes: 0, requests: { docker: { writes: 0 } } })
    })
  })

describe('behind SSH', () => {
  const [{ configDirectory, version } = { configDirectory: '', version: '' }] = versions.slice(-1)
  const directories = () => ({ here: join(docker.directory, 'ssh-here'), there: join(docker.directory, 'ssh-there') })
  let sshd: TestSshd
  let tool: Tool

  beforeAll(async () => {
    const { here, there } = directories()
    copyExample(there)
    tool = createTool(docker, configDirectory, copyExample(here))
    // What a login finds on the host: this Docker, and the network that it is in.
    const host = Object.entries({ ...tool.environment, LANDFALL_STACK_STATE: '' }).map(([name, value]) => `${name}=${value}`)
    const wrapper = join(docker.directory, 'login')
    writeFileSync(wrapper, `#!/bin/sh\nexec ${docker.inside.join(' ')} env ${host.join(' ')} sh -c "$SSH_ORIGINAL_COMMAND"\n`, {
      mode: 0o755,
    })
    sshd = await createSshd({ forced: wrapper })
    await sshd.start()
    const config = JSON.parse(readFileSync(join(here, 'compose-rolling.json'), 'utf8'))
    Object.assign(config.stacks.rolling.environments.prod, {
      on: 'ssh',
      directory: join(there, 'compose-rolling'),
      host_keys: { [`127.0.0.1:${sshd.port}`]: sshd.hostKey },
    })
    writeFileSync(join(here, 'compose-rolling.json'), JSON.stringify(config))
  })
  afterAll(async () => {
    tool?.compose('down', '-v', '-t', '1')
    await sshd?.stop()
  })

  const reach = () => ({
    PROD_DEPLOY_HOST: `127.0.0.1:${sshd.port}`,
    PROD_DEPLOY_USER: sshd.user,
    PROD_DEPLOY_SSH_KEY: readFileSync(sshd.identityFile, 'utf8'),
    BOOT_MS: '500',
  })

  test(`the Compose file and nginx's files come from here, and a deploy and a rollback fail no request (Compose ${version})`, async () => {
    const first = await tool.run(['deploy'], { ...reach(), ...tags('1') }, 'outside')
    expect(`${first.code} ${first.stderr}${first.code === 0 ? '' : first.stdout.slice(-1500)}`).toBe('0 ')
    expect(runningImages(tool)).toEqual(of('1'))
    const nginx = join(directories().here, 'compose-rolling/nginx/default.conf')
    writeFileSync(nginx, readFileSync(nginx, 'utf8').replace('return 200 "ok\\n"', 'return 200 "fine\\n"'))
    const codes: number[] = []
    const load = await tool.underLoad(async () => {
      codes.push((await tool.run(['deploy'], { ...reach(), ...tags('2') }, 'outside')).code)
      codes.push((await tool.run(['rollback'], reach(), 'outside')).code)
    })
    expect(codes).toEqual([0, 0])
    expect(load.whys).toEqual([])
    expect(runningImages(tool)).toEqual(of('1'))
    expect(readFileSync(join(directories().there, 'compose-rolling/nginx/default.conf'), 'utf8')).toBe(
      readFileSync(nginx, 'utf8'),
    )
  })

  const here = (name: string) => join(directories().here, 'compose-rolling/nginx', name)
  const there = (name: string) => join(directories().there, 'compose-rolling/nginx', name)
  const filesThere = () => readdirSync(there('')).sort()

  test('an nginx file that is renamed here is renamed there, without a failed request, and nobody else’s is touched', async () => {
    writeFileSync(there('foreign.conf'), '# of somebody else\n', { mode: 0o640 })
    renameSync(here('default.conf'), here('site.conf'))
    const text = readFileSync(here('site.conf'), 'utf8')
    const plan = await tool.run(['deploy', '--plan'], { ...reach(), ...tags('1') }, 'outside')
    expect(plan.stdout).toContain(`nginx: remove ${there('default.conf')}, which the project has no longer`)
    expect(filesThere()).toEqual(['default.conf', 'foreign.conf'])
    const ends: string[] = []
    const load = await tool.underLoad(async () => {
      const { code, stdout } = await tool.run(['deploy'], { ...reach(), ...tags('1') }, 'outside')
      ends.push(`${code}${code === 0 ? '' : stdout.slice(-1500)}`)
    })
    expect(ends).toEqual(['0'])
    expect(load.whys).toEqual([])
    expect(filesThere()).toEqual(['foreign.conf', 'site.conf'])
    expect(readFileSync(there('site.conf'), 'utf8')).toBe(text)
    const second = await tool.run(['deploy'], { ...reach(), ...tags('1') }, 'outside')
    expect(second.lines.at(-1)).toMatchObject({ changes: 0, requests: { docker: { writes: 0 } } })
  })

  test('when nginx refuses the file in its place, the removed one is back as it was', async () => {
    const text = readFileSync(here('site.conf'), 'utf8')
    const before = statSync(there('site.conf'))
    writeFileSync(here('other.conf'), text.replace('upstream api {', 'upstream api {\n    zone;'))
    rmSync(here('site.conf'))
    const refused = await tool.run(['deploy'], { ...reach(), ...tags('1') }, 'outside')
    expect(refused.code).toBe(1)
    expect(refused.stdout).toContain('nginx did not take its configuration up and goes on with what it had')
    expect(filesThere()).toEqual(['foreign.conf', 'site.conf'])
    expect(readFileSync(there('site.conf'), 'utf8')).toBe(text)
    expect(statSync(there('site.conf'))).toMatchObject({ mode: before.mode, uid: before.uid, size: before.size })
    writeFileSync(here('other.conf'), text)
  })

  test('a run that is killed after it removed one is ended by the next', async () => {
    const { sent } = await tool.kill(
      ['deploy'],
      { ...reach(), ...tags('2') },
      message(/^waiting until requests/),
      'SIGKILL',
      'outside',
    )
    expect(sent).toBe(true)
    const end = await tool.run(['deploy'], { ...reach(), ...tags('2') }, 'outside')
    expect(`${end.code} ${end.code === 0 ? '' : end.stdout.slice(-1500)}`).toBe('0 ')
    expect(runningImages(tool)).toEqual(of('2'))
    expect(filesThere()).toEqual(['foreign.conf', 'other.conf'])
    expect(readFileSync(there('other.conf'), 'utf8')).toBe(readFileSync(here('other.conf'), 'utf8'))
  })

  test('a host without nginx’s files gets them before nginx starts', async () => {
    tool.compose('down', '-v', '-t', '1')
    for (const name of readdirSync(there(''))) rmSync(there(name))
    const end = await tool.run(['deploy'], { ...reach(), ...tags('1') }, 'outside')
    expect(`${end.code} ${end.code === 0 ? '' : end.stdout.slice(-1500)}`).toBe('0 ')
    expect(filesThere()).toEqual(['other.conf'])
    const status = await tool.run(['status'], { ...reach(), ...tags('1') }, 'outside')
    expect(status.lines[0]).toMatchObject({ served: [{ status: 200 }, { status: 200 }, { status: 200 }] })
  })

  test('a host whose key is not pinned is sent nothing', async () => {
    const config = join(directories().here, 'compose-rolling.json')
    writeFileSync(config, readFileSync(config, 'utf8').replace(sshd.hostKey, `ssh-ed25519 ${'A'.repeat(68)}`))
    const refused = await tool.run(['status'], reach(), 'outside')
    expect(refused.code).toBe(3)
    expect(refused.stdout).toContain('host_key')
  })
})
