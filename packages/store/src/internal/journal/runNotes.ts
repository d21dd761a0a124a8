/** The events of a run, as the journal stores them: a JSON array of sentences, bounded. */

/** Sentences of a run that are stored. */
export const maxNotes = 200

/** Characters of a sentence that are stored. */
export const maxNoteLength = 2000

/** As many as are stored. The last one reports how many are not. */
const bounded = (notes: ReadonlyArray<string>): ReadonlyArray<string> => {
  const kept =
    notes.length <= maxNotes
      ? notes
      : [...notes.slice(0, maxNotes - 1), `and ${notes.length - maxNotes + 1} more, which are not stored`]
  return kept.map((note) =>
    note.length <= maxNoteLength ? note : `${note.slice(0, maxNoteLength - 1).toWellFormed()}…`,
  )
}

export const encode = (notes: ReadonlyArray<string>): string => JSON.stringify(bounded(notes))

export const decode = (text: string): ReadonlyArray<string> => JSON.parse(text) as ReadonlyArray<string>
