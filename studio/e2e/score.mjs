/** A little minuet as MusicXML: sixteen bars, two hands. */

const STEPS = ["C", "D", "E", "F", "G", "A", "B"];

function note(degree, octave, quarters, staff, chord = false) {
  const step = STEPS[((degree % 7) + 7) % 7];
  const height = octave + Math.floor(degree / 7);
  const type = { 1: "eighth", 2: "quarter", 6: "half" }[quarters];
  return `<note>${chord ? "<chord/>" : ""}<pitch><step>${step}</step><octave>${height}</octave></pitch><duration>${quarters}</duration><voice>${staff}</voice><type>${type}</type>${quarters === 6 ? "<dot/>" : ""}<staff>${staff}</staff></note>`;
}

const MELODY = [
  [4, 0, 1, 2, 3],
  [4, 0, 0],
  [5, 3, 4, 5, 6],
  [7, 0, 0],
  [3, 4, 3, 2, 1],
  [2, 3, 2, 1, 0],
  [-1, 0, 1, 2, 0],
  [1, 1, 1],
];
const BASS = [0, 2, 3, 0, 3, 2, 4, 4];

function bar(index) {
  const tune = MELODY[index % 8];
  const lengths = tune.length === 5 ? [2, 1, 1, 1, 1] : [2, 2, 2];
  const right = tune.map((degree, at) => note(degree, 4, lengths[at], 1)).join("");
  const root = BASS[index % 8];
  const left = note(root, 3, 6, 2) + note(root + 2, 3, 6, 2, true);
  const head =
    index === 0
      ? "<attributes><divisions>2</divisions><key><fifths>0</fifths></key><time><beats>3</beats><beat-type>4</beat-type></time><staves>2</staves><clef number='1'><sign>G</sign><line>2</line></clef><clef number='2'><sign>F</sign><line>4</line></clef></attributes><direction><direction-type><words>Allegretto</words></direction-type><sound tempo='112'/></direction>"
      : "";
  return `<measure number="${index + 1}">${head}${right}<backup><duration>6</duration></backup>${left}</measure>`;
}

export const SCORE = `<?xml version="1.0" encoding="UTF-8"?>
<score-partwise version="3.1"><work><work-title>Minuet</work-title></work><part-list><score-part id="P1"><part-name>Piano</part-name></score-part></part-list><part id="P1">${Array.from({ length: 16 }, (_, index) => bar(index)).join("")}</part></score-partwise>`;
