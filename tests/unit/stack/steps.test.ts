import { expect, test } from 'bun:test'
import { systemClock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { createDockerHost } from '../../../lib/providers/docker/docker.ts'
import { stackSteps } from '../../../lib/steps/stack.ts'

const hostOf = (key: string) => ({
  key,
  variables: {},
  docker: createDockerHost({
    place: { project: 'shop', directory: '/', files: [], nginx: 'nginx' },
    transport: {
      name: key,
      run: () => Promise.reject(new Error('nothing may be asked while steps are made')),
      close: async () => {},
    },
    context: { clock: systemClock, meter: createMeter(), beforeWrite: async () => {} },
  }),
})

const stepsOn = (...keys: string[]) =>
  stackSteps({
    project: 'shop',
    hosts: keys.map(hostOf),
    wish: { kind: 'deploy', leave: [], images: {}, pull: false },
    confirmed: [],
    selected: false,
    tools: {
      roles: { rolled: ['api', 'web'], nginx: 'nginx', fixed: [] },
      clock: systemClock,
      runId: 'run',
      who: 'me@here',
      startMs: 1000,
      drainMs: 1000,
    },
  })

test('several hosts come one after the other: a host begins only when the one before serves the release', () => {
  const steps = stepsOn('one', 'two', 'three')
  const of = (host: string) => steps.filter(({ reads }) => reads.includes(host))
  expect(steps.map(({ reads }) => reads.join())).toEqual([
    ...Array(4).fill('one'),
    ...Array(4).fill('two'),
    ...Array(4).fill('three'),
  ])
  expect(of('one')[0]?.needs).toEqual([])
  expect(of('two')[0]?.needs).toEqual(
    of('one')
      .slice(-1)
      .map(({ id }) => id),
  )
  expect(of('three')[0]?.needs).toEqual(
    of('two')
      .slice(-1)
      .map(({ id }) => id),
  )
  expect(of('two').every(({ title }) => title.endsWith(' on two'))).toBe(true)
})

test('on one host nothing is said about hosts', () => {
  expect(stepsOn('this machine').map(({ title }) => title)).toEqual([
    'no rollout of shop is left half done',
    'every service of shop runs',
    'api and web run the wanted release',
    'nginx runs as wanted',
  ])
})
