/**
 * Failed requests and seconds of a whole-stack deploy, by command: `bun tests/bench/stack.ts [COMPOSE-VERSION …]`. Ours beside the
 * recipe that pipelines use and beside plain `docker compose up -d`, at 200 requests a second, on a Docker of its own. Needs root.
 */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { argv } from 'node:process'
import {
  buildExampleImages,
  composeVersions,
  copyExample,
  loadBaseImage,
  run,
  startDocker,
  type TestDocker,
} from '../machines/docker.ts'
import { createTool, failuresOf, type OwnTimes, ownTimes, RATE, runningImages, type Tool, tags } from '../machines/stack-kit.ts'

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const SERVICES = ['api', 'web', 'python-api'] as const

const composeWith = (tool: Tool, tag: string, ...words: string[]) =>
  run(['docker', 'compose', '-p', 'rolling', '-f', join(tool.directory, 'compose-rolling/compose.yml'), ...words], {
    env: { ...tool.environment, ...tags(tag) },
  })

const reload = (tool: Tool) => {
  const [proxy = ''] = run(['docker', 'ps', '-q', '--filter', 'label=com.docker.compose.service=nginx'], {
    env: { ...tool.environment },
  }).stdout.split('\n')
  run(['docker', 'exec', proxy, 'nginx', '-s', 'reload'], { env: { ...tool.environment } })
}

const isHealthy = (tool: Tool, service: string): boolean => {
  const filter = ['--filter', `label=com.docker.compose.service=${service}`]
  const states = run(['docker', 'ps', ...filter, '--format', '{{.Status}}'], { env: { ...tool.environment } })
    .stdout.split('\n')
    .filter(Boolean)
  return states.length > 0 && states.every(state => state.includes('(healthy)'))
}

async function untilHealthy(tool: Tool, service: string): Promise<void> {
  for (let tries = 0; tries < 300 && !isHealthy(tool, service); tries++) await Bun.sleep(200)
}

/** The commands of the documents, service after service, nginx last. */
const RECIPES = {
  'plain docker compose up -d': async (tool: Tool, tag: string) => {
    composeWith(tool, tag, 'up', '-d')
    for (const service of SERVICES) await untilHealthy(tool, service)
  },
  'recipe for staging: --force-recreate, reload': async (tool: Tool, tag: string) => {
    for (const service of SERVICES) composeWith(tool, tag, 'up', '-d', '--no-deps', '--force-recreate', service)
    for (const service of SERVICES) await untilHealthy(tool, service)
    reload(tool)
  },
  'recipe for production: --scale 2, healthy, --scale 1, reload': async (tool: Tool, tag: string) => {
    for (const service of SERVICES) {
      composeWith(tool, tag, 'up', '-d', '--no-deps', '--scale', `${service}=2`, service)
      await untilHealthy(tool, service)
      composeWith(tool, tag, 'up', '-d', '--no-deps', '--scale', `${service}=1`, service)
    }
    reload(tool)
  },
} satisfies Record<string, (tool: Tool, tag: string) => Promise<void>>

async function measure(name: string, tool: Tool, wanted: string, work: () => Promise<unknown>): Promise<void> {
  let seconds = 0
  const load = await tool.underLoad(async () => {
    const startedMs = performance.now()
    await work()
    seconds = (performance.now() - startedMs) / 1000
  })
  const failed = failuresOf(load)
  const { GET = 0, POST = 0, slow = 0 } = load.failed
  const after = runningImages(tool)
  const isWanted = after.length === SERVICES.length && after.every(image => image.endsWith(`:${wanted}`))
  const counts = `${String(failed).padStart(6)} of ${load.sent} failed (GET ${GET}, POST ${POST}, 3 s ${slow})`
  print(
    `  ${name.padEnd(62)} ${counts.padEnd(58)} ${seconds.toFixed(1).padStart(6)} s  ${(load.sent / load.seconds).toFixed(0)}/s${isWanted ? '' : `  runs ${after.join(' ')}`}`,
  )
}

async function bench(docker: TestDocker, version: string, configDirectory: string): Promise<void> {
  const directory = join(docker.directory, `bench-${version}`)
  mkdirSync(directory, { recursive: true })
  const tool = createTool(docker, configDirectory, copyExample(directory))
  print(`\nCompose ${version}, ${RATE} requests a second`)
  await tool.run(['deploy'], tags('1'))
  let times: (OwnTimes & { readonly wholeMs: number }) | undefined
  await measure('ours: a good deploy of the whole stack', tool, '2', async () => {
    let wholeMs = 0
    const own = await ownTimes(tool, async () => {
      const deployed = await tool.run(['deploy'], tags('2'))
      wholeMs = deployed.ms
      return deployed
    })
    times = { ...own, wholeMs }
  })
  await measure('ours: a bad release', tool, '2', () => tool.run(['deploy'], { ...tags('3'), WEB_TAG: 'bad' }))
  await measure('ours: a rollback', tool, '1', () => tool.run(['rollback']))
  if (times) {
    const { wholeMs, startMs, bootMs, drainMs, restMs } = times
    const ratio = (own: number) => (wholeMs / (own + drainMs)).toFixed(2)
    const [whole, start, boot, drain, rest] = [wholeMs, startMs, bootMs, drainMs, restMs].map(ms => `${(ms / 1000).toFixed(1)} s`)
    print(`  deploy ${whole}; the services' own start ${start} and drain ${drain}: ratio ${ratio(startMs)} (asked: at most 1.2)`)
    print(`  without what Docker takes to start a container, the start is ${boot} and the ratio ${ratio(bootMs)}`)
    print(`  services start side by side; for ${rest} of the deploy none of them started and no request was waited for`)
  }
  for (const [name, recipe] of Object.entries(RECIPES)) {
    composeWith(tool, '1', 'up', '-d', '--remove-orphans')
    for (const service of SERVICES) await untilHealthy(tool, service)
    reload(tool)
    await Bun.sleep(500)
    await measure(name, tool, '2', () => recipe(tool, '2'))
  }
  tool.compose('down', '-v', '-t', '1')
}

const versions = composeVersions()
const docker = await startDocker({ name: 'stackbench', subnet: '172.27' })
try {
  loadBaseImage(docker)
  buildExampleImages(docker, new URL('../../examples/compose-rolling', import.meta.url).pathname, ['1', '2', '3', 'bad'])
  const asked = argv.slice(2)
  for (const { version, configDirectory } of versions)
    if (asked.length === 0 || asked.some(each => version.startsWith(each))) await bench(docker, version, configDirectory)
} finally {
  await docker.stop()
}
