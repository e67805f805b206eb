"""Experiments: any system of the course on any data set, from one command line.

* `course.experiments.systems`: the table of systems, with papers and published sizes;
* `course.experiments.sets`: data sets by name, cut to one size and to what a task needs;
* `course.experiments.objects`: boxes for sets that have none;
* `course.experiments.tasks`: what is trained and measured: pixels, objects, or whole images;
* `course.experiments.run`: one run with a folder of its own, which a kill cannot spoil;
* `course.experiments.recipes`: how three papers trained, and the figures that they published;
* `course.experiments.reproduce`: a recipe in full size, `tasks.papers` its data and measures;
* `course.experiments.folder`: what the folders of runs have in common;
* `course.experiments.drawing`: the picture of a run.

The commands `course train` and `course reproduce` (`course.cli`) are thin coats over them.
"""
