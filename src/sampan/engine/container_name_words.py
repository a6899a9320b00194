"""Words that made-up container names are put together from: weather, and things of a river."""

_ADJECTIVES = """
able agile airy amber ample autumn bold brave breezy bright brisk calm candid careful cheerful
clear clever cosy crisp curious daring deep diligent distant eager early earnest easy even fair
famous fast fearless fine firm fleet fresh frosty gentle glad golden graceful grand happy hardy
hearty honest hopeful humble jolly joyful keen kind lasting light lively lucky lunar mellow merry
mighty mild misty modest nimble noble northern open patient peaceful plucky polite proud quick
quiet rapid ready rosy rugged sandy serene sharp shining silent silver simple sleek smooth snowy
sober solid southern spirited spry stable starry steady stout sturdy sunny sure swift tidal tidy
tranquil true trusty vivid warm wary western wild willing windy wise witty young zesty
"""

_NOUNS = """
anchor barge bay beacon boom bow bridge brook buoy cable canal canoe cape capstan captain cargo
channel cleat coast compass cove coxswain crane crew current cutter davit deck delta dinghy dock
dory driftwood drake eddy egret estuary ferry fjord float ford galley gull gunwale halyard harbour
hatch hawser headland heron hull inlet island jetty keel kelp ketch kingfisher knot lagoon landing
lantern ledger lighthouse lock mast mate moor mooring oar otter outrigger paddle pelican pier
pilot plank plover pole pond port punt quay raft rapids reach reed reef rigging ripple river rope
rower rudder sail sandbank schooner sculler shallop shoal skiff sloop sound spar spray stern
strait stream swell tern tide tiller trawler tributary tug wake watch wave weir wharf wherry yawl
"""

ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())
