/** What can be done to the records of a zone. Every change goes through a draft of the zone, and is kept as a whole or not at all. */

import type { StandInResponse } from '../kit.ts'
import { ok, pageAnswer, REFUSALS, renderRecord } from './answers.ts'
import { parsePaging, selectRecords } from './filters.ts'
import { type Account, newId, type RecordFields, type RecordRow, recordsOf, type ZoneRow } from './rows.ts'
import { conflictOf, type Input, limitsOf, parseRecord } from './validate.ts'

const USUAL_PER_PAGE = 100
const MAX_PER_PAGE = 5000

export const listRecords = (account: Account, zone: ZoneRow, query: URLSearchParams): StandInResponse =>
  pageAnswer(selectRecords(recordsOf(account, zone.id), query), parsePaging(query, USUAL_PER_PAGE, MAX_PER_PAGE), renderRecord)

export const readRecord = (account: Account, zone: ZoneRow, id: string): StandInResponse => {
  const record = account.records.get(id)
  if (record?.zoneId !== zone.id) throw REFUSALS.noRecord()
  return ok(renderRecord(record))
}

export const createRecord = (account: Account, zone: ZoneRow, input: Input): StandInResponse =>
  commit(account, zone, draft => renderRecord(draft.post(input)))

export const patchRecord = (account: Account, zone: ZoneRow, id: string, input: Input): StandInResponse =>
  commit(account, zone, draft => renderRecord(draft.patch(id, input)))

export const putRecord = (account: Account, zone: ZoneRow, id: string, input: Input): StandInResponse =>
  commit(account, zone, draft => renderRecord(draft.put(id, input)))

export const deleteRecord = (account: Account, zone: ZoneRow, id: string): StandInResponse =>
  commit(account, zone, draft => ({ id: draft.delete(id).id }))

/** Deletes, then patches, puts, posts; the first failure undoes all of them. */
export const changeBatch = (account: Account, zone: ZoneRow, input: Input): StandInResponse => {
  const lists = {
    deletes: objects(input.deletes),
    patches: objects(input.patches),
    puts: objects(input.puts),
    posts: objects(input.posts),
  }
  const limit = limitsOf(zone.plan).batch
  if (Object.values(lists).reduce((sum, list) => sum + list.length, 0) > limit) throw REFUSALS.batchTooLong(limit)
  return commit(account, zone, draft => ({
    deletes: lists.deletes.map(entry => renderRecord(draft.delete(idOf(entry)))),
    patches: lists.patches.map(entry => renderRecord(draft.patch(idOf(entry), entry))),
    puts: lists.puts.map(entry => renderRecord(draft.put(idOf(entry), entry))),
    posts: lists.posts.map(entry => renderRecord(draft.post(entry))),
  }))
}

interface Draft {
  post(input: Input): RecordRow
  patch(id: string, input: Input): RecordRow
  put(id: string, input: Input): RecordRow
  delete(id: string): RecordRow
}

/** Runs `work` over the zone's records and writes what it changed; nothing is written when it throws. */
const commit = (account: Account, zone: ZoneRow, work: (draft: Draft) => unknown): StandInResponse => {
  const { store, clock } = account.deps
  let changed = false
  const response = store.transaction(() => {
    const nowMs = clock.nowMs()
    const records = recordsOf(account, zone.id)
    const byName = Map.groupBy(records, record => record.name)
    let count = records.length

    const find = (id: string): RecordRow => {
      const record = account.records.get(id)
      if (record?.zoneId !== zone.id) throw REFUSALS.noRecord()
      return record
    }
    const keep = (record: RecordRow): RecordRow => {
      const before = account.records.get(record.id)
      if (before) leave(before)
      const namesakes = byName.get(record.name) ?? []
      const conflict = conflictOf(zone, record, namesakes)
      if (conflict) throw conflict
      byName.set(record.name, [...namesakes, record])
      account.records.put(record.id, record)
      changed = true
      return record
    }
    const leave = (record: RecordRow): void => {
      const others = byName.get(record.name) ?? []
      byName.set(
        record.name,
        others.filter(other => other.id !== record.id),
      )
    }
    const overwrite = (before: RecordRow, fields: RecordFields): RecordRow =>
      keep({
        ...fields,
        id: before.id,
        zoneId: zone.id,
        createdAtMs: before.createdAtMs,
        modifiedAtMs: nowMs,
        commentModifiedAtMs: fields.comment === before.comment ? before.commentModifiedAtMs : nowMs,
      })

    const result = work({
      post(input) {
        const fields = parseRecord(zone, input)
        if (count >= zone.recordQuota) throw REFUSALS.quota()
        count += 1
        const commentModifiedAtMs = fields.comment === null ? null : nowMs
        return keep({
          ...fields,
          id: newId(account, 'record'),
          zoneId: zone.id,
          createdAtMs: nowMs,
          modifiedAtMs: nowMs,
          commentModifiedAtMs,
        })
      },
      patch(id, input) {
        const before = find(id)
        return overwrite(before, parseRecord(zone, input, before))
      },
      put(id, input) {
        const before = find(id)
        return overwrite(before, parseRecord(zone, input))
      },
      delete(id) {
        const before = find(id)
        leave(before)
        account.records.delete(id)
        count -= 1
        changed = true
        return before
      },
    })
    if (changed) account.zones.put(zone.id, { ...zone, serial: zone.serial + 1 })
    return ok(result)
  })
  if (changed) account.deps.onChange?.()
  return response
}

const objects = (value: unknown): readonly Input[] => {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw REFUSALS.badJson()
  return value.map(entry => {
    if (typeof entry !== 'object' || entry === null) throw REFUSALS.badJson()
    return entry as Input
  })
}

const idOf = (entry: Input): string => {
  if (typeof entry.id !== 'string') throw REFUSALS.noRecord()
  return entry.id
}
