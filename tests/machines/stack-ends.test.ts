/** A stack with a service that does its work and ends, as a migration does, before what waits for that is rolled out: real Docker, Compose and nginx. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildExampleImages, composeVersions, copyExample, loadBaseImage, startDocker, type TestDocker } from './docker.ts'
import { createTool, failuresOf, runningImages, type Tool, tags } from './stack-kit.ts'

setDefaultTimeout(900_000)

const MIGRATE = `
  migrate:
    image: landfall-example/base:1
    pull_policy: never
    command: [sh, -c, 'echo "migrated to $$TO"; exit $$CODE']
    environment: { TO: "\${TO:-1}", CODE: "\${CODE:-0}" }
    networks: [back]
    depends_on: { postgres: { condition: service_healthy } }

networks:
`
const AWAITED = `depends_on:
      postgres: { condition: service_started }
      redis: { condition: service_started }
      migrate: { condition: service_completed_successfully }`

let docker: TestDocker
beforeAll(async () => {
  docker = await startDocker({ name: 'ends', subnet: '172.27' })
  loadBaseImage(docker)
  buildExampleImages(docker, new URL('../../examples/compose-rolling', import.meta.url).pathname, ['1', '2', '3'])
})
afterAll(async () => docker?.stop())

const of = (tag: string) => [`api:${tag}`, `python-api:${tag}`, `web:${tag}`]

for (const { version, configDirectory } of composeVersions())
  describe(`Compose ${version}`, () => {
    let tool: Tool
    const deploy = (tag: string, more: Readonly<Record<string, string>>) =>
      tool.run(['deploy'], { ...tags(tag), BOOT_MS: '500', TO: tag, ...more })
    const migrated = () => {
      const id = docker.docker('ps', '-aq', '--filter', 'label=com.docker.compose.service=migrate').stdout.trim()
      return docker.docker('logs', id).stdout.trim()
    }

    beforeAll(() => {
      tool = createTool(docker, configDirectory, copyExample(join(docker.directory, `run-${version}`)))
      const file = join(tool.directory, 'compose-rolling/compose.yml')
      const text = readFileSync(file, 'utf8')
      writeFileSync(
        file,
        text.replace('depends_on: [postgres, redis]', AWAITED).replace('\nnetworks:\n', () => MIGRATE),
      )
    })
    afterAll(() => {
      tool.compose('down', '-v', '-t', '1')
    })

    test('it runs before the first start, and is not missed afterwards', async () => {
      const first = await deploy('1', {})
      expect(`${first.stdout}${first.stderr}`).toContain('"ok":true')
      expect([runningImages(tool), migrated().split('\n').at(-1)]).toEqual([of('1'), 'migrated to 1'])
      const again = await deploy('1', {})
      expect(again.lines.at(-1)).toMatchObject({ ok: true, changes: 0, applied: 0, requests: { docker: { writes: 0 } } })
      expect((await tool.run(['status'], { ...tags('1'), BOOT_MS: '500', TO: '1' })).code).toBe(0)
    })

    test('it runs again for a new version, before that is rolled out, without failing a request', async () => {
      let ended: Awaited<ReturnType<typeof deploy>> | undefined
      const load = await tool.underLoad(async () => {
        ended = await deploy('2', {})
      })
      expect(`${ended?.code} ${ended?.stderr}`).toBe('0 ')
      expect(load.whys).toEqual([])
      expect(failuresOf(load)).toBe(0)
      expect([runningImages(tool), migrated()]).toEqual([of('2'), 'migrated to 2'])
    })

    test('when it fails the old version goes on, and the next run tries again', async () => {
      const failed = await deploy('3', { CODE: '3' })
      expect(failed.code).toBe(1)
      expect(failed.stdout).toContain('migrate ended with exit code 3: migrated to 3')
      expect(runningImages(tool)).toEqual(of('2'))
      const again = await deploy('3', { CODE: '3' })
      expect(again.code).toBe(1)
      expect(runningImages(tool)).toEqual(of('2'))
      expect((await deploy('3', {})).code).toBe(0)
      expect(runningImages(tool)).toEqual(of('3'))
    })
  })
