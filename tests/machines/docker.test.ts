/** An engine whose test was killed is swept by the next one that starts. */

import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { isAlive } from '../../lib/sandbox/containers/owners.ts'
import { run, startDocker } from './docker.ts'

const SLEEPER = ['pgrep', '-f', 'sleep 987654$']

test('a killed test’s engine, its container, its namespace and its folder are gone after the next start', async () => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'base/abandon-docker.ts')], {
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const { value } = await child.stdout.getReader().read()
  const directory = new TextDecoder().decode(value).trim()
  const namespace = `/run/netns/${basename(directory)}`
  const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'))
  child.kill('SIGKILL')
  await child.exited
  expect([isAlive(pid, 'dockerd'), existsSync(namespace), run(SLEEPER).code]).toEqual([true, true, 0])

  const next = await startDocker({ name: 'next', subnet: '172.25' })
  try {
    expect([isAlive(pid, 'dockerd'), existsSync(namespace), existsSync(directory), run(SLEEPER).code]).toEqual([
      false,
      false,
      false,
      1,
    ])
  } finally {
    await next.stop()
  }
}, 60_000)
