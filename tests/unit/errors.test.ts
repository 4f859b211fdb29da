import { expect, test } from 'bun:test'
import { type ErrorCode, exitCodeOf, exitCodeOfRun, LandfallError } from '../../lib/errors.ts'

const failed = (code: ErrorCode) => new LandfallError(code, 'it failed')

test.each([
  ['usage', 64],
  ['config', 64],
  ['refused', 3],
  ['over_cap', 3],
  ['locked', 3],
  ['name_taken', 3],
  ['host_key', 3],
  ['cancelled', 130],
  ['network', 1],
  ['forbidden', 1],
] as const)('%s ends with %d', (code, exitCode) => {
  expect(exitCodeOf(failed(code))).toBe(exitCode)
})

test('a bug ends with 1', () => {
  expect(exitCodeOf(new Error('bug'))).toBe(1)
})

test.each([
  [['timeout'], 1],
  [['host_key'], 3],
  [['timeout', 'host_key'], 3],
  [['config'], 1],
] as const)('a run in which %p failed ends with %d', (codes, exitCode) => {
  expect(exitCodeOfRun(codes.map(failed))).toBe(exitCode)
})
